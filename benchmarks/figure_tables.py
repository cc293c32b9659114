"""Write tables of measured figures into docs/figures.md and docs/panel.md.

python benchmarks/figure_tables.py out/demo/summary.json [FIGURES.json ...]
python benchmarks/figure_tables.py docs/results/panel_summary.csv --page docs/panel.md

``summary.json`` comes from a demo. Each FIGURES.json is a list of objects with the texts
``figure``, ``target`` and ``measured``, as the experiments write them. ``panel_summary.csv`` comes
from ``siren_ext.experiments.panel``. Everything between the two marker comments of the page is
replaced, so no figure is typed by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from siren_ext.experiments.panel_results import TESTS
from siren_ext.files import atomic
from siren_ext.stats.shares import clustering, exact_interval
from siren_ext.text import duration
from siren_ext.verdict.outcomes import LOWER, NO_DIFFERENCE

START, END = "<!-- figures:start -->", "<!-- figures:end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "figures.md"
HEAD = ("figure", "target", "measured")
Row = tuple[str, ...]


def demo_rows(summary: dict[str, Any]) -> list[Row]:
    """The rows of a demo's summary."""

    def verdict(model: dict[str, Any]) -> str:
        against = f"{model['n']} against {model['m']}" if model["m"] else f"{model['n']} images"
        return f"{model['verdict']}, p = {model['p']:.2g} ({against})"

    separate = "every one" if summary["scores_separate"] else "not every one"
    name = "coated files that score below every clean file"
    compared = summary["suspect"]["m"] > 0  # without a reference a key decides, not the scores
    scores = [(name, "every one", separate)] if compared else []
    wanted = (LOWER, NO_DIFFERENCE) if compared else ("coating found", "no evidence")
    memory = summary["peak_memory_gb"]
    return [
        ("PSNR of the coated samples, as written", ">= 38 dB", f"{summary['psnr_db']:.1f} dB"),
        ("SSIM", ">= 0.97", f"{summary['ssim']:.3f}"),
        (
            "local colour difference (CIEDE2000 after a 9-px blur, 99th percentile)",
            "<= 3",
            f"{summary['local_de00_p99']:.2f}",
        ),
        *scores,
        ("demo: model trained on the coated set", wanted[0], verdict(summary["suspect"])),
        ("demo: model trained on the clean set", wanted[1], verdict(summary["innocent"])),
        ("demo: time", "<= 5 min on two cores", duration(summary["seconds"])),
        ("demo: peak memory", "<= 4 GB", "not known" if memory is None else f"{memory:.1f} GB"),
    ]


def rows_of(path: Path) -> list[Row]:
    """The rows of a demo summary or of a list of figures."""
    data = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(data, dict):
        return demo_rows(data)
    return [(row["figure"], row["target"], row["measured"]) for row in data]


def panel_tables(path: Path) -> str:
    """A panel's shares of accused models: a table of innocent models and one of guilty ones."""
    with path.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    levels = [name for name in lines[0] if name.startswith("at_")]
    sizes = list(dict.fromkeys(line["n"] for line in lines))
    shares: dict[tuple[str, str, str], dict[str, str]] = {}
    for line in lines:
        cells = (share_of(line, name) for name in levels)
        key = line["test"], line["group"], line["models"]
        shares.setdefault(key, {})[line["n"]] = " / ".join(cells)
    at = " / ".join(name.removeprefix("at_") for name in levels)
    head = ("test", "models", *(f"{size} images" for size in sizes))
    parts = []
    for title, guilty in (("Accused although innocent", False), ("Caught", True)):
        rows: list[Row] = [
            (test, f"{group} ({models})", *(cells.get(size, "") for size in sizes))
            for (test, group, models), cells in shares.items()
            if group.startswith("guilty") == guilty
        ]
        parts.append(f"**{title}**, per cent of the models at alpha = {at}:\n\n{table(rows, head)}")
    models = path.with_name(path.name.replace("_summary", ""))
    if models != path and models.is_file():
        parts.append(f"**Clusters**, innocent models:\n\n{cluster_table(models)}")
    return "\n\n".join(parts)


def share_of(line: Mapping[str, str], name: str) -> str:
    """A share of models in per cent with its exact 95 % interval, as if they were independent."""
    share, models = float(line[name]), int(line["models"])
    shown = f"{100 * share:.3g}"
    if line["group"] == "other keys":  # of models and keys, so no share of so many models
        return shown
    low, high = exact_interval(round(share * models), models)
    return f"{shown} ({100 * low:.1f} to {100 * high:.1f})"


def cluster_table(path: Path) -> str:
    """How alike innocent models of one set are, by the p of each test."""
    with path.open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["kind"] != "guilty"]
    rows: list[Row] = []
    for column, (name, _) in TESTS.items():
        if column == "p_verdict":  # 1 for all that are not judged, so not a p of their scores
            continue
        for size in dict.fromkeys(line["n"] for line in lines):
            now = [line for line in lines if line["n"] == size and line.get(column)]
            p = np.clip([float(line[column]) for line in now], 1e-12, 1 - 1e-6)
            found = clustering(ndtri(p), [line["set"] or line["kind"] for line in now])
            counts = (str(found.values), str(found.clusters))
            rows.append((name, size, *counts, f"{found.correlation:.2f}", f"{found.worth:.0f}"))
    head = ("test", "images", "models", "clusters", "intra-cluster correlation", "worth")
    return table(rows, head)


def table(rows: Sequence[Row], head: Row = HEAD) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def replace(text: str, content: str) -> str:
    """Replace the text between the markers; raises ValueError if they are missing."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"the page lacks the markers {START} and {END}; add them")
    return f"{before}{START}\n{content}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the table of a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: docs/figures.md")
    chosen = parser.parse_args(arguments)
    panels = [path for path in chosen.files if path.suffix == ".csv"]
    if panels and len(chosen.files) > 1:
        parser.error("a panel's summary makes tables of its own; give no other file with it")
    if panels:
        content = panel_tables(panels[0])
    else:
        content = table([row for path in chosen.files for row in rows_of(path)])
    text = replace(chosen.page.read_text(encoding="utf-8"), content)
    with atomic(chosen.page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()
