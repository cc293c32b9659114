"""Feed damaged files to every reader, and report tracebacks, hangs and memory.

    python benchmarks/fuzz.py --minutes 2
    python benchmarks/fuzz.py --mutants 10000 --into docs/fuzzing.md
    python benchmarks/fuzz.py --reader adapters --mutants 10000
    python benchmarks/fuzz.py --reader adapters --seed 123

A mutant is determined by its reader and its seed; --seed repeats one with its traceback. The exit
code is 1 if a reader raised anything but a SirenError, computed for more than ten seconds, waited
for a minute or grew by more than 1 GB. Needs Linux or macOS and the packages of the extra dev.
"""

from __future__ import annotations

import argparse
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "a1111_extension")]

import torch  # noqa: E402
from support.fuzz_mutators import mutant  # noqa: E402
from support.fuzz_reader import Reader  # noqa: E402
from support.fuzz_readers import readers  # noqa: E402

from siren_ext.errors import SirenError  # noqa: E402
from siren_ext.text import printable  # noqa: E402

HANG_SECONDS = 10
GROWTH = 1 << 30
MOST_FAILURES = 20
MINUTES = 2.0
START, END = "<!-- fuzz:start -->", "<!-- fuzz:end -->"
_LIBRARIES = ("Pillow", "torch", "safetensors", "msgspec", "cryptography", "rfc3161-client")
_STATE = struct.Struct("qqqq")  # seed, mutants, read, peak growth in bytes


class Hang(BaseException):
    """A reader took too long."""


@dataclass
class Outcome:
    """What became of the mutants of a reader."""

    mutants: int = 0
    read: int = 0
    growth: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)


def place_mutant(reader: Reader, seed: int, folder: Path) -> str:
    """Write a mutant and the files around it; returns its place in the folder."""
    random = Random(f"{reader.name}/{seed}")
    sample = random.choice(reader.samples)
    others = [one.data for one in reader.samples]
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in {**reader.kept, sample.place: b""}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / sample.place).write_bytes(mutant(sample.data, sample.kind, others, random))
    return sample.place


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise :class:`Hang` in a block that takes too long, in time of the processor."""

    def ring(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def peak() -> int:
    """Most memory of this process so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def attempt(reader: Reader, seed: int, folder: Path) -> tuple[bool, str]:
    """Read one mutant: whether it was accepted, and what went wrong."""
    place = place_mutant(reader, seed, folder)
    try:
        with limited(HANG_SECONDS):
            reader.read(folder, place)
    except SirenError as error:
        if not str(error) or printable(error) != str(error):
            return False, f"a message with control characters or none: {str(error)[:100]!r}"
        return False, ""
    except Hang:
        return False, f"took more than {HANG_SECONDS} s"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return False, f"{type(error).__name__} at {where}: {str(error)[:150]!r}"
    return True, ""


def run_child(reader: Reader, first: int, end: float, most: int, folder: Path, state: Any) -> None:
    """Read mutants until the time is over; each failure becomes a line of a file."""
    base = peak()
    done = read = grown = 0
    with (folder.parent / "failures.txt").open("a", encoding="utf-8", errors="replace") as log:
        for seed in count(first):
            if time.monotonic() > end or done >= most:
                break
            state[:] = _STATE.pack(seed, done, read, grown)
            accepted, failure = attempt(reader, seed, folder)
            done, read = done + 1, read + accepted
            grown = max(0, peak() - base)
            if grown > GROWTH:
                failure = failure or f"memory grew by {grown / 1e9:.1f} GB"
            if failure:
                log.write(f"seed {seed}: {failure}\n")
                log.flush()
            if grown > GROWTH:
                break  # the peak can't be lowered: the next process begins with a new one
        state[:] = _STATE.pack(-1 if grown <= GROWTH else seed, done, read, grown)


def fuzz(reader: Reader, first: int, seconds: float, most: int, work: Path) -> Outcome:
    """Read mutants of one reader in processes of their own, which may crash."""
    outcome, seed = Outcome(), first
    started = time.monotonic()
    end = started + seconds
    folder = work / "mutant"
    while time.monotonic() < end and outcome.mutants < most:
        state = mmap.mmap(-1, _STATE.size)
        child = os.fork()
        if child == 0:
            code = 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries in C complain there
            try:
                run_child(reader, seed, end, most - outcome.mutants, folder, state)
                code = 0
            finally:
                os._exit(code)
        code = _wait(child, state)
        last, done, read, grown = _STATE.unpack(state[:])
        outcome.mutants += done
        outcome.read += read
        outcome.growth = max(outcome.growth, grown)
        if code:
            outcome.mutants += 1
            outcome.failures.append(f"seed {last}: the process ended with {code}")
        if last < 0 or len(outcome.failures) >= MOST_FAILURES:
            break
        seed = last + 1
    outcome.seconds = time.monotonic() - started
    log = work / "failures.txt"
    if log.exists():
        outcome.failures += log.read_text(encoding="utf-8", errors="replace").splitlines()
        log.unlink()
    return outcome


def _wait(child: int, state: Any) -> int:
    """Exit code of a child; one that waits or never returns to Python is killed."""
    seen, since = b"", time.monotonic()
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if state[:] != seen:
            seen, since = state[:], time.monotonic()
        if time.monotonic() - since > 6 * HANG_SECONDS:
            os.kill(child, signal.SIGKILL)
            since = float("inf")
        time.sleep(0.05)


def repeat(reader: Reader, seed: int, work: Path) -> int:
    """Read one mutant with a traceback; the mutant stays in ``work``."""
    folder = work / "mutant"
    place = place_mutant(reader, seed, folder)
    print(f"Mutant: {folder / place}")
    try:
        with limited(HANG_SECONDS):
            print(f"Read: {str(reader.read(folder, place))[:500]}")
    except SirenError as error:
        print(f"Refused: {error}")
    except (Hang, Exception):
        traceback.print_exc()
        return 1
    return 0


def options(arguments: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--minutes", type=float, help="time for all readers together; 2 without --mutants"
    )
    parser.add_argument("--mutants", type=int, help="stop a reader after this many")
    parser.add_argument("--into", type=Path, help="page whose table gets the counts")
    parser.add_argument("--reader", action="append", help="only this one; may be repeated")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seed", type=int, help="read this mutant only and show its traceback")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Read mutants and print the counts; returns the exit code."""
    chosen = options(arguments)
    if chosen.into is not None and END not in chosen.into.read_text("utf-8").partition(START)[2]:
        print(f"{chosen.into} lacks the marks {START} and {END}; add them.")
        return 2
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    memory = Path("/dev/shm")  # deleting a file on a disk takes longer than reading a mutant
    place = memory if os.access(memory, os.W_OK) else None
    work = Path(tempfile.mkdtemp(prefix="siren-fuzz-", dir=place))
    try:
        found = readers(work / "good")
        names = [reader.name for reader in found]
        if unknown := set(chosen.reader or ()) - set(names):
            print(f"There is no reader {min(unknown)}; expected {', '.join(names)}.")
            return 2
        picked = [one for one in found if chosen.reader is None or one.name in chosen.reader]
        if chosen.seed is not None:
            return max(repeat(one, chosen.seed, work) for one in picked)
        return _table(picked, names, chosen, work)
    finally:
        if chosen.seed is None:
            shutil.rmtree(work, ignore_errors=True)


def _table(picked: list[Reader], names: list[str], chosen: argparse.Namespace, work: Path) -> int:
    """Fuzz readers one after another, print a line each and put the counts into a page."""
    minutes = chosen.minutes
    if minutes is None:
        minutes = MINUTES if chosen.mutants is None else float("inf")
    end = time.monotonic() + minutes * 60
    counts: list[tuple[str, Outcome]] = []
    print(f"{'reader':<24}{'mutants':>9}{'read':>9}{'per s':>8}{'MB':>6}  failures", flush=True)
    for index, reader in enumerate(picked):
        left = (end - time.monotonic()) / (len(picked) - index)
        most = chosen.mutants if chosen.mutants is not None else sys.maxsize
        one = fuzz(reader, chosen.first, left, most, work)
        counts.append((reader.name, one))
        if chosen.into is not None:
            _put(counts, chosen.into, names)
        speed = one.mutants / max(one.seconds, 1e-9)
        print(
            f"{reader.name:<24}{one.mutants:>9}{one.read:>9}{speed:>8.0f}"
            f"{one.growth / 1e6:>6.0f}  {len(one.failures)}",
            flush=True,
        )
        for failure in one.failures[:MOST_FAILURES]:
            print(f"    --reader '{reader.name}' --{failure}", flush=True)
    return 1 if any(one.failures for _, one in counts) else 0


def _put(counts: list[tuple[str, Outcome]], page: Path, names: list[str]) -> None:
    """Replace the lines of a page's table for the readers that were run."""
    before, _, rest = page.read_text("utf-8").partition(START)
    inside, _, after = rest.partition(END)
    rows = {line.split("|")[1].strip(): line for line in inside.splitlines() if "|" in line}
    rows |= {
        name: f"| {name} | {one.mutants:,} | {one.read:,} | {one.growth / 1e6:.0f} MB "
        f"| {len(one.failures)} |"
        for name, one in counts
    }
    made = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    lines = [
        "| Reader | Mutants | Read | Most memory | Failures |",
        "| --- | --- | --- | --- | --- |",
        *(rows[name] for name in names if name in rows),
        "",
        f"Read with {made}.",
    ]
    page.write_text(f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
