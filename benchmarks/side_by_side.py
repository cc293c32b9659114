"""Compare this package's speed with the structure of SIREN's published code, on equal weights.

Run: python benchmarks/side_by_side.py [--rounds 7] [--out speed.json] [--page docs/performance.md]
     python benchmarks/side_by_side.py --from speed.json --page docs/performance.md

The reference is in published_structure.py beside this file.

Both sides run in one process in turns. The figures are CPU seconds of this process, and of all
rounds the minimum counts: other programs on the machine can only add time.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.coating.passes import coat_and_score
from siren_ext.data.dataset import ImageSet
from siren_ext.scoring.score import score_images
from siren_ext.stats.ks import ks_less

sys.path.insert(0, str(Path(__file__).resolve().parent))
from published_structure import Reference, picture


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each call."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - begun)
    return best


def compare_coating(rounds: int) -> list[dict[str, Any]]:
    """Coat and score files of 512 pixels on equal weights, and with the default networks."""
    with tempfile.TemporaryDirectory() as folder:
        return _compare_coating(Path(folder), rounds)


def _compare_coating(folder: Path, rounds: int) -> list[dict[str, Any]]:
    published = Coater(CoaterConfig.preset("official"), seed=1)
    default = Coater(CoaterConfig(), seed=1)
    reference = Reference(published)
    source = folder / "in" / "a.png"
    source.parent.mkdir()
    Image.fromarray(picture(512, 512)).save(source)
    (folder / "reference").mkdir()
    data, number = ImageSet.open(source.parent), iter(range(10**6))

    def coat(coater: Coater, scores: bool) -> None:
        coat_folder(data, coater, folder / f"{next(number)}", CoatConfig(scores=scores))

    best = interleaved(
        {
            "reference": lambda: reference.coat(source, folder / "reference"),
            "plain": lambda: coat(published, False),
            "scored": lambda: coat(published, True),
            "default": lambda: coat(default, True),
            "default plain": lambda: coat(default, False),
            "score reference": lambda: reference.score(reference.read(source)),
            "score": lambda: score_images([source], published),
        },
        rounds,
    )
    whole = best["reference"]
    conv = _convolutions(published, source)
    why = (
        f"{best['score']:.2f} s, of which the convolutions alone take {conv:.2f} s; they are the "
        "same on both sides"
    )
    return [
        row("coat, published weights, `--no-scores`", 4, whole / best["plain"]),
        row(
            "coat, published weights, scored before and after",
            4,
            whole / best["scored"],
            "the extractor runs twice, as in the reference; `--no-scores` leaves that out",
        ),
        row(
            "coat, default networks, scored",
            15,
            whole / best["default"],
            f"{best['default']:.2f} s; `--no-scores` is the row below",
        ),
        row(
            "coat, default networks, `--no-scores`",
            15,
            whole / best["default plain"],
            f"{best['default plain']:.2f} s",
        ),
        row("score, published weights", 1.5, best["score reference"] / best["score"], why),
    ]


@torch.no_grad()
def _convolutions(coater: Coater, source: Path) -> float:
    """Least CPU seconds of an extractor's convolutions for one image."""
    seen, best = Reference.read(source), float("inf")
    for _ in range(3):
        total, view = 0.0, seen
        for block in coater.extractor.layers[:-1]:
            begun = time.process_time()
            view = block.layers[0](view)
            total += time.process_time() - begun
        best = min(best, total)
    return best


def row(
    what: str, goal: float, found: float, why: str = "", *, most: bool = False, unit: str = "x"
) -> dict[str, Any]:
    """A row of the table; ``most`` if the goal is an upper limit."""
    met = found <= goal if most else found >= goal
    limit = f"{'<=' if most else '>='} {goal:g} {unit}".replace(" x", "x").rstrip()
    shown = f"{found:.3g} {unit}".replace(" x", "x").rstrip()
    return {
        "what": what,
        "goal": limit,
        "found": shown,
        "value": found,
        "met": met,
        "why": "" if met else why,
    }


def large_photo(rounds: int) -> list[dict[str, Any]]:
    """Time of 12 megapixels relative to 512 pixels, both in memory and scored twice."""
    rows = []
    for name, config in (
        ("published", CoaterConfig.preset("official")),
        ("default", CoaterConfig()),
    ):
        coater = Coater(config, seed=1)

        def call(size: tuple[int, int], coater: Coater = coater) -> Callable[[], object]:
            image = Reference.to_float(picture(*size))
            return lambda: coat_and_score(coater, image.clone(), 1.0, None, None)

        best = interleaved({"small": call((512, 512)), "large": call((3000, 4000))}, rounds)
        why = (
            f"{best['small']:.2f} s for 512 pixels and {best['large']:.2f} s for 46 times as many: "
            "mask, enlargement and rounding of every pixel, which no network saves"
        )
        rows.append(
            row(
                f"4000 x 3000 against 512 pixels, {name} networks",
                1.5,
                best["large"] / best["small"],
                why,
                most=True,
            )
        )
    return rows


def photo_memory(_: int) -> list[dict[str, Any]]:
    """Memory of a process that coats 12 megapixels."""
    base, peak = _peak("nothing"), _peak("photo")
    why = f"{base:.0f} MB are Python and torch; the rest is the picture and its change in float32"
    what = "4000 x 3000, whole process, default networks"
    return [{"rounds": 1} | row(what, 600, peak, why, most=True, unit="MB")]


def _peak(what: str) -> float:
    """Most memory of a new process, in MB."""
    done = subprocess.run(
        [sys.executable, __file__, "--peak", what], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure_peak(what: str) -> float:
    """Do one thing and return this process's most memory, in MB."""
    if what == "photo":
        coater = Coater(CoaterConfig(), seed=1)
        levels = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), dtype=np.uint8)
        coat_and_score(coater, Reference.to_float(levels), 1.0, None, None)
    else:
        config = CoaterConfig(channels=64, norm="running", working_size=1024)
        generator = Coater(config, seed=1).generator
        with torch.no_grad():
            view = torch.rand(1, 3, 1024, 1024)
            if what == "whole":
                generator._drawn(view)
            elif what == "tiles":
                generator(view)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tiles(_: int) -> list[dict[str, Any]]:
    """Difference and memory of tiles, for 1024 pixels and 64 channels."""
    config = CoaterConfig(channels=64, norm="running", working_size=1024)
    generator = Coater(config, seed=1).generator
    with torch.no_grad():
        view = torch.rand(1, 3, 512, 512)
        difference = float((generator(view) - generator._drawn(view)).abs().max())
    base, whole, parts = (_peak(what) for what in ("nothing", "whole", "tiles"))
    return [
        row(
            "tiles against the whole image, largest difference",
            1e-5,
            difference,
            most=True,
            unit="",
        ),
        row(
            "memory of tiles, as a share of the whole image's",
            0.125,
            (parts - base) / (whole - base),
            most=True,
            unit="",
            why=f"{parts - base:.0f} of {whole - base:.0f} MB at 1024 pixels: tiles need the same "
            "at any size, so the share falls with the square of the side",
        ),
    ]


def others(rounds: int) -> list[dict[str, Any]]:
    """Batches and verdicts."""
    coater = Coater(CoaterConfig(), seed=1)
    images = torch.rand(4, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([coater.score(image[None]) for image in images])
    difference = float((coater.score(images) - alone).abs().max())
    rng = np.random.default_rng(0)
    pools = rng.normal(-0.1, 1, 1000), rng.normal(0, 1, 1000)
    best = interleaved(
        {
            "verdict": lambda: ks_less(*pools, method="exact"),
            "quick": lambda: ks_less(*pools, method="asymptotic"),
        },
        rounds,
    )
    return [
        row(
            "scores of four images together and alone, largest difference",
            1e-5,
            difference,
            most=True,
            unit="",
        ),
        row(
            "test of 1,000 against 1,000 scores",
            5,
            best["verdict"] * 1000,
            f"p is exact; from its asymptotic formula it would take {best['quick'] * 1000:.2g} ms",
            most=True,
            unit="ms",
        ),
    ]


PAGE = """# Speed and memory

Written by `python benchmarks/side_by_side.py --page docs/performance.md`. The reference restates
the structure of SIREN's published code from its description: one image at a time, batch
normalisation in training mode, two runs of the extractor to print scores, and two PNG files per
image. Both sides use the same weights and run in turns in one process, on one thread. Times are CPU
seconds of the process, and of all rounds the minimum, because other programs were running on the
machine ({machine}).

| What | Goal | Measured | Rounds | | Why it is missed |
|---|---|---|---|---|---|
{rows}

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


PARTS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "coating": compare_coating,
    "photo": large_photo,
    "memory": photo_memory,
    "tiles": tiles,
    "others": others,
}


def measure(parts: list[str], rounds: int, earlier: Path | None) -> dict[str, Any]:
    """Measure parts; rows of other parts are kept from an earlier file."""
    rows: dict[str, dict[str, Any]] = {}
    if earlier is not None and earlier.exists():
        kept = json.loads(earlier.read_text(encoding="utf-8"))["rows"]
        rows = {one["what"]: one for one in kept}
    for part in parts:
        rows |= {one["what"]: {"rounds": rounds} | one for one in PARTS[part](rounds)}
    machine = f"{platform.machine()}, torch {torch.__version__}"
    return {"rows": list(rows.values()), "machine": machine}


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", action="append", choices=list(PARTS), help="may be repeated")
    parser.add_argument("--out", type=Path, help="rows that are not measured now are kept")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--from", type=Path, dest="earlier")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peak:
        print(measure_peak(options.peak))
        return
    if options.earlier:
        results = json.loads(options.earlier.read_text(encoding="utf-8"))
    else:
        results = measure(options.only or list(PARTS), options.rounds, options.out)
    for one in results["rows"]:
        outcome = "met" if one["met"] else "missed"
        print(f"{outcome:6} {one['found']:>10} ({one['goal']}) {one['what']}")
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.page:
        write_page(results, options.page)


if __name__ == "__main__":
    main()
