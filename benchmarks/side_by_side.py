"""Compare this package's speed with its goals and with the structure of SIREN's published code.

Run: python benchmarks/side_by_side.py [--rounds 7] [--out docs/results/speed.json]
         [--page docs/performance.md] [--only coating --only verdict ...]
     python benchmarks/side_by_side.py --from docs/results/speed.json --page docs/performance.md

The reference is in published_structure.py beside this file, the rows are in speed_coating.py,
speed_training.py and speed_evidence.py. Rows of a graphics card are those of
docs/results/graphics_card.json, which graphics_card.py writes. ``watermark`` needs the packages
invisible-watermark, opencv-python-headless and PyWavelets. ``demo`` takes ten minutes and is
measured only if asked for.

Both sides run in one process in turns. The figures are CPU seconds of this process, and of all
rounds the minimum counts: other programs on the machine can only add time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import speed_coating
import speed_evidence
import speed_training
from speed_rows import Row, row

CARD = Path(__file__).resolve().parent.parent / "docs" / "results" / "graphics_card.json"


def graphics_card(_: int) -> list[Row]:
    """Figures of benchmarks/graphics_card.py, which were measured on a CUDA card."""
    found = json.loads(CARD.read_text(encoding="utf-8"))
    change = "largest change in units of the spread"
    moved = {name: found["score"][f"{name}, {change}"] for name in ("official", "default")}
    full, half = (found["train"][f"{kind}, seconds"] for kind in ("float32", "bfloat16"))
    gain = found["score"]["official, float16"] / found["score"]["official, float32"]
    return [
        row(
            f"coat 512 pixels on one {found['card']}, published networks, in memory",
            100,
            found["coat"]["official, float32"],
            unit="a second",
            rounds=5,
        ),
        row(
            "largest change of scores by float16, in units of their spread",
            0.01,
            max(moved.values()),
            f"so scores stay in float32 with TF32 units; float16 would gain {gain:.2f}x",
            most=True,
            unit="",
            rounds=1,
        ),
        row(
            "step of coater training with the model in bfloat16 against float32",
            3,
            full / half,
            f"{full:.2f} and {half:.2f} s; the coater's own networks are trained in float32",
            rounds=3,
        ),
    ]


def machine() -> str:
    """Processor, load and version of torch, in words."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    load = (
        f", {os.getloadavg()[0]:.0f} programs running or waiting"
        if hasattr(os, "getloadavg")
        else ""
    )
    return f"{name}, {os.cpu_count()} cores{load}, torch {torch.__version__}"


PAGE = """# Speed and memory

Written by `python benchmarks/side_by_side.py --page docs/performance.md`; the figures are in
[results/speed.json](results/speed.json).

Measured on: {machine}.

Other programs only add time, so times are CPU seconds of one thread, and of all rounds the minimum.
Images that are coated or scored have 512 pixels where nothing else is said; `coat` is from file to
file.

What is compared with the published code is compared with its structure, restated from its
description: one image at a time, batch normalisation in training mode, two runs of the extractor to
print scores, and two PNG files per image; in training, gradients of all weights of the diffusion
model, and a prompt that is encoded in every step. Both sides use the same weights and run in turns
in one process.

| What | Goal | Measured | Rounds | | Why it is missed |
|---|---|---|---|---|---|
{rows}

Goals for the pocket model are CPU seconds of two cores together. The rows of a graphics card are
those of [graphics_card.md](graphics_card.md).

Counts for one image of 512 pixels with the published networks: the reference runs the generator
once and the extractor twice (395 GFLOP) and writes two files. `siren-ext coat` also runs the
extractor twice, and `siren-ext coat --no-scores` not at all (79 GFLOP, because the constant message
is part of the weights); both write one file.
"""


def write_page(results: dict[str, Any], page: Path) -> None:
    """Write the page from the results."""
    lines = [
        f"| {one['what']} | {one['goal']} | {one['found']} | {one['rounds']} "
        f"| {'met' if one['met'] else 'missed'} "
        f"| {one['why']} |"
        for one in results["rows"]
    ]
    text = PAGE.format(rows="\n".join(lines), machine=results["machine"])
    page.write_text(text, encoding="utf-8")


PARTS: dict[str, Callable[[int], list[Row]]] = {
    "coating": speed_coating.compare_coating,
    "photo": speed_coating.large_photo,
    "memory": speed_coating.photo_memory,
    "tiles": speed_coating.tiles,
    "verdict": speed_coating.others,
    "watermark": speed_coating.watermark,
    "training": speed_training.coater_step,
    "pocket": speed_training.pocket,
    "evidence": speed_evidence.preference,
    "demo": speed_training.demo,
    "card": graphics_card,
}


def _line(one: Row) -> str:
    outcome = "met" if one["met"] else "missed"
    return f"{outcome:6} {one['found']:>14} ({one['goal']}) {one['what']}"


def measure(parts: list[str], rounds: int, out: Path | None) -> dict[str, Any]:
    """Measure parts; rows of other parts are kept from an earlier file, which is written anew."""
    rows: dict[str, Row] = {}
    if out is not None and out.exists():
        kept = json.loads(out.read_text(encoding="utf-8"))["rows"]
        rows = {one["what"]: one for one in kept}
    for part in parts:
        made = [{"rounds": rounds} | one for one in PARTS[part](rounds)]
        rows |= {one["what"]: one for one in made}
        print("\n".join(map(_line, made)), flush=True)
        results = {"rows": list(rows.values()), "machine": machine()}
        if out is not None:
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="may be repeated")
    parser.add_argument("--out", type=Path, help="rows that are not measured now are kept")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--from", type=Path, dest="earlier")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.earlier:
        results = json.loads(options.earlier.read_text(encoding="utf-8"))
    else:
        results = measure(
            options.only or [part for part in PARTS if part != "demo"], options.rounds, options.out
        )
    if options.earlier:
        for one in results["rows"]:
            print(_line(one))
    if options.page:
        write_page(results, options.page)


if __name__ == "__main__":
    main()
