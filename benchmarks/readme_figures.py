"""Write the table of measured figures into the README.

python benchmarks/readme_figures.py out/demo/summary.json [FIGURES.json ...]

``summary.json`` is what a demo wrote. Each FIGURES.json is a list of objects with the texts
``figure``, ``target`` and ``measured``, as the experiments write them. Everything between the two
marker comments of the README is replaced; nothing is ever typed in by hand.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siren_ext.files import atomic
from siren_ext.terminal import duration

START, END = "<!-- figures:start -->", "<!-- figures:end -->"
README = Path(__file__).resolve().parents[1] / "README.md"
Row = tuple[str, str, str]


def demo_rows(summary: dict[str, Any]) -> list[Row]:
    """The rows that a demo's summary gives."""

    def verdict(model: dict[str, Any]) -> str:
        return f"{model['verdict']}, p = {model['p']:.2g} ({model['n']} against {model['m']})"

    separate = "every one" if summary["scores_separate"] else "not every one"
    memory = summary["peak_memory_gb"]
    return [
        ("PSNR of the coated samples, as written", ">= 38 dB", f"{summary['psnr_db']:.1f} dB"),
        ("SSIM", ">= 0.97", f"{summary['ssim']:.3f}"),
        (
            "local colour difference (CIEDE2000 after a 9-px blur, 99th percentile)",
            "<= 3",
            f"{summary['local_de00_p99']:.2f}",
        ),
        ("coated files that score below every clean file", "every one", separate),
        ("demo: model trained on the coated set", "coating found", verdict(summary["suspect"])),
        ("demo: model trained on the clean set", "no evidence", verdict(summary["innocent"])),
        ("demo: time", "<= 10 min on two cores", duration(summary["seconds"])),
        ("demo: peak memory", "<= 4 GB", "not known" if memory is None else f"{memory:.1f} GB"),
    ]


def rows_of(path: Path) -> list[Row]:
    """The rows of a demo summary or of a list of figures."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(data, dict):
        return demo_rows(data)
    return [(row["figure"], row["target"], row["measured"]) for row in data]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| figure | target | measured |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def replace(text: str, content: str) -> str:
    """``text`` with what stands between the markers replaced; raises ValueError without them."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the README has no {START} ... {END}")
    return f"{before}{START}\n{content}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the README's table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--readme", type=Path, default=README)
    chosen = parser.parse_args(arguments)
    content = table([row for path in chosen.files for row in rows_of(path)])
    text = replace(chosen.readme.read_text(encoding="utf-8"), content)
    with atomic(chosen.readme) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
