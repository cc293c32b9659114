"""benchmarks/fuzz.py: its counts, and that it sees tracebacks, hangs, crashes and memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FUZZ = ROOT / "benchmarks" / "fuzz.py"
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(not FUZZ.exists(), reason="only in a source tree"),
]

BAD = """
import ctypes, time
from pathlib import Path
import fuzz
from siren_ext.errors import SirenError
from support.fuzz_reader import Reader, Sample

def run(read, most=40):
    reader = Reader("bad", [Sample("a.json", b'{"a": [1, 2, 3]}', "json")], read)
    work = Path(WORK)
    work.mkdir(exist_ok=True)
    return fuzz.fuzz(reader, 0, 60, most, work)

def refuse(folder, place):
    raise SirenError("no")

def stumble(folder, place):
    if len((folder / place).read_bytes()) % 2:
        raise KeyError("a")

def hang(folder, place):
    while True:
        pass

def wait(folder, place):
    time.sleep(60)

def crash(folder, place):
    ctypes.string_at(0)

def grow(folder, place):
    grown.append(b"x" * 3_000_000)

grown = []
fuzz.HANG_SECONDS = 0.2
fuzz.GROWTH = 20_000_000
good = run(refuse)
print(good.mutants, good.read, good.failures)
for read in (stumble, hang, wait, crash, grow):
    one = run(read, 20 if read in (stumble, grow) else 3)
    print(one.mutants, one.failures[0])
"""


def fuzz(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), str(ROOT / "tests"), *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment
    )


def test_counts_and_repeats() -> None:
    pytest.importorskip("cryptography")
    readers = ("--reader", "beacon rounds", "--reader", "prompt plans")
    done = fuzz(str(FUZZ), *readers, "--mutants", "60", "--minutes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [(row[:3], row[-1]) for row in rows] == [
        (["beacon", "rounds", "60"], "0"),
        (["prompt", "plans", "60"], "0"),
    ]
    one, two = (fuzz(str(FUZZ), *readers[:2], "--seed", "7").stdout for _ in range(2))
    assert one.splitlines()[1:] == two.splitlines()[1:]
    for shown in (one, two):  # the mutant is kept, for a look at it
        kept = Path(shown.splitlines()[0].removeprefix("Mutant: "))
        shutil.rmtree(
            next(folder for folder in kept.parents if folder.name.startswith("siren-fuzz-"))
        )
    wrong = fuzz(str(FUZZ), "--reader", "nothing")
    assert wrong.returncode == 2
    assert "There is no reader nothing; expected pictures, " in wrong.stdout


def test_counts_are_put_into_a_page(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- fuzz:start -->\nold\n<!-- fuzz:end -->\nAfter.\n")
    program = f"""
import fuzz
for reader in ("workflows", "beacon rounds"):
    assert fuzz.main(["--reader", reader, "--mutants", "5", "--into", {str(page)!r}]) == 0
"""
    done = fuzz("-c", program, path=FUZZ.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    text = page.read_text()
    assert text.startswith("Before.\n\n<!-- fuzz:start -->\n| Reader | Mutants | Read |")
    rows = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| ")][2:]
    assert rows == [["| beacon rounds", "5"], ["| workflows", "5"]]  # in the order of the readers
    assert text.endswith("<!-- fuzz:end -->\nAfter.\n")
    page.write_text("no marks")
    done = fuzz(str(FUZZ), "--into", str(page))
    assert (done.returncode, page.read_text()) == (2, "no marks")
    assert "lacks the marks" in done.stdout


def test_faults_are_seen(tmp_path: Path) -> None:
    program = BAD.replace("WORK", repr(str(tmp_path / "work")))
    done = fuzz("-c", program, path=FUZZ.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "40 0 []"
    assert "KeyError at <string>:" in lines[1]
    assert "seed 0: took more than 0.2 s" in lines[2]
    assert "seed 0: the process ended with -9" in lines[3]
    assert "seed 0: the process ended with -11" in lines[4]
    assert "memory grew by 0.0 GB" in lines[5]
