"""Table of adapter kinds and writers: does a file load, with what error, which keys are left over.

    python benchmarks/adapter_table.py [--only WRITER] [--into docs/adapters.md]

The real libraries write the files for a tiny model, as in ``tests/support/writers.py``, and the
merged model is compared with the library's own forward pass. Needs the packages of the extra
``dev``. ``--into`` replaces the table between the two marks of that file. The exit code is 1 if a
file doesn't load, differs by more than 1e-5, has keys left over or can't be undone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from support.tiny_models import save_tiny  # noqa: E402
from support.writers import CASES, UnwrittenError, compare, load  # noqa: E402

from siren_ext.errors import SirenError  # noqa: E402

HEAD = (
    "| writer | file | kinds | modules | largest error | size of the change | keys left over "
    "| undone bit for bit |"
)
START, END = "<!-- adapters:start -->", "<!-- adapters:end -->"
TOLERANCE = 1e-5


def rows(only: str | None) -> tuple[list[str], bool]:
    """The lines of the table, and whether every case that could be written is correct."""
    lines, good = [HEAD, "|" + " --- |" * HEAD.count(" | ") + " --- |"], True
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_tiny(Path(scratch))
        pipeline = load(folder)
        for number, (writer, name, write) in enumerate(CASES):
            if only not in (None, writer):
                continue
            out = Path(scratch) / str(number)
            out.mkdir()
            torch.manual_seed(number)  # the libraries start their factors at random
            try:
                written = write(folder, out, name)
                found = compare(pipeline, written)
            except UnwrittenError as reason:
                lines.append(f"| {writer} | {name} | not written: {reason} | | | | | |")
                continue
            except SirenError as error:
                lines.append(f"| {writer} | {name} | FAILED: {error} | | | | | |")
                good = False
                continue
            fine = found.modules == written.modules and found.error <= TOLERANCE
            good = good and fine and found.undone and not found.leftovers
            kinds = ", ".join(found.kinds)
            lines.append(
                f"| {writer} | {name} | {kinds} | {found.modules} of {written.modules} "
                f"| {found.error:.1e} | {found.change:.2f} | {found.leftovers} "
                f"| {'yes' if found.undone else 'NO'} |"
            )
    return lines, good


def writers() -> str:
    """A sentence with the versions of the writers."""
    names = ("peft", "lycoris-lora", "diffusers", "transformers", "torch")
    return "Written by " + ", ".join(f"{name} {version(name)}" for name in names) + "."


def main() -> int:
    """Print the table, or put it into a document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="one writer: peft, lycoris-lora, diffusers or siren-ext")
    parser.add_argument(
        "--into", type=Path, help="document with the two marks, to replace the table"
    )
    chosen = parser.parse_args()
    lines, good = rows(chosen.only)
    table = "\n".join([*lines, "", writers()])
    print(table)
    if chosen.into is not None:
        before, _, rest = chosen.into.read_text("utf-8").partition(START)
        _, mark, after = rest.partition(END)
        if not mark:
            print(f"{chosen.into} lacks the marks {START} and {END}; add them.", file=sys.stderr)
            return 1
        text = f"{before}{START}\n{table}\n{END}{after}"
        chosen.into.write_text(text, encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
