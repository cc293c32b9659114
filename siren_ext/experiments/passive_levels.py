"""How often each set test rejects sets that differ in nothing, and how often it finds a shift.

    python -m siren_ext.experiments.passive_levels --out levels.csv

The features are normal numbers, so no model is needed and the truth is known.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from siren_ext.cli.common import command, say, watched
from siren_ext.cli.options import Quiet
from siren_ext.experiments.rows import write_rows
from siren_ext.passive.scorer import Scorer
from siren_ext.passive.set_comparison import compare_sets
from siren_ext.passive.set_config import Mode, SetTestConfig
from siren_ext.progress import NULL, Progress

Row = dict[str, Any]
Floats = NDArray[np.float64]

FEATURES, LOSSES = 26, 10
TESTS: tuple[tuple[Mode, Scorer], ...] = (
    ("official", "logistic"),
    ("paper", "logistic"),
    ("default", "logistic"),
    ("permutation", "logistic"),
    ("default", "mean"),
    ("permutation", "mean"),
)
"""Mode and scoring model of each test; ``mean`` gets ten losses, ``logistic`` all 26 features."""
LEVELS = (0.05, 0.01)
_PERMUTATIONS = 199  # enough for these levels


@dataclasses.dataclass(frozen=True)
class Shift:
    """By how much the features of published images are smaller.

    Attributes
    ----------
    name : str
        For the table.
    size : float
        In standard deviations of a feature.
    columns : int
        Number of features that are shifted; of ``mean``'s ten losses as many at most.
    share : float
        Share of the published images whose features are shifted.
    """

    name: str
    size: float = 0.0
    columns: int = 0
    share: float = 1.0


NOTHING = Shift("nothing")
SHIFTS = (
    Shift("3 of the features by 0.4", 0.4, 3),
    Shift("10 of the features by 0.4", 0.4, 10),
    Shift("10 of the features by 0.4, for half of the images", 0.4, 10, 0.5),
)
"""What is different in the runs that measure power."""


def drawn_sets(n: int, width: int, shift: Shift, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Features of published and unpublished images.

    Parameters
    ----------
    n : int
        Images per set.
    width : int
        Features.
    shift : Shift
        The difference.
    rng : numpy.random.Generator
        Draws them.

    Returns
    -------
    tuple[array, array]
        n x ``width`` each. No image is in both.
    """
    published, unpublished = rng.standard_normal((2, n, width))
    used = round(shift.share * n)
    published[:used, : min(shift.columns, width)] -= shift.size
    return published, unpublished


def measure(
    n: int, runs: int, shift: Shift = NOTHING, *, seed: int = 0, progress: Progress = NULL
) -> list[Row]:
    """Apply all tests to the same sets.

    Parameters
    ----------
    n : int
        Images per set.
    runs : int
        Number of pairs of sets.
    shift : Shift
        How they differ.
    seed : int
        Seed of everything.
    progress : Progress
        One unit per run.

    Returns
    -------
    list[dict[str, Any]]
        For each test the share of runs with p at most each level, its standard error, and mean p.
    """
    found: dict[tuple[Mode, Scorer], list[float]] = {test: [] for test in TESTS}
    progress.stage(f"{n} images, {shift.name}", runs)
    for run in range(runs):
        rng = np.random.default_rng((seed, n, run))
        wide = drawn_sets(n, FEATURES, shift, rng)
        for mode, scorer in TESTS:
            width = LOSSES if scorer == "mean" else FEATURES
            config = SetTestConfig(
                mode=mode, scorer=scorer, permutations=_PERMUTATIONS, seed=(seed + run) % 2**31
            )
            narrow = wide[0][:, :width], wide[1][:, :width]
            found[mode, scorer].append(compare_sets(*narrow, config).p_value)
        progress.advance(1)
    rows = []
    for (mode, scorer), p_values in found.items():
        row: Row = {"images": n, "difference": shift.name, "mode": mode, "scorer": scorer}
        row |= {"runs": runs, "mean_p": float(np.mean(p_values))}
        for level in LEVELS:
            share = float(np.mean(np.array(p_values) <= level + 1e-12))
            row[f"rejected_at_{level:g}"] = share
            row[f"error_at_{level:g}"] = (share * (1 - share) / runs) ** 0.5
        rows.append(row)
    return rows


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "passive_levels",
    example="python -m siren_ext.experiments.passive_levels --out levels.csv",
)
def passive_levels(
    out: Annotated[Path, typer.Option("--out", help="CSV table.")],
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Pairs of sets that differ in nothing.")
    ] = 2000,
    power_runs: Annotated[
        int, typer.Option("--power-runs", min=1, help="Pairs of sets for each difference.")
    ] = 200,
    images: Annotated[
        list[int] | None,
        typer.Option("-n", "--images", min=10, help="Images per set; may be repeated. Default 50."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Measure size and power of the set tests on numbers whose truth is known."""
    rows: list[Row] = []
    with watched(quiet) as progress:
        for n in images or [50]:
            rows += measure(n, runs, seed=seed, progress=progress)
            for shift in SHIFTS:
                rows += measure(n, power_runs, shift, seed=seed, progress=progress)
            write_rows(rows, out, digits=5)
    for row in rows:
        shares = ", ".join(f"{row[f'rejected_at_{level:g}']:.1%} at {level:g}" for level in LEVELS)
        say(f"n = {row['images']}, {row['difference']}, {row['mode']} ({row['scorer']}): {shares}")
    say(str(out))


if __name__ == "__main__":
    app()
