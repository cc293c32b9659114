"""How near evidence from a model's file is to what it should reach.

    python -m siren_ext.experiments.preference_targets docs/results/preference_now_*.csv

Reads tables of :mod:`siren_ext.experiments.preference_study`, one for each set of images, and
prints p of every model beside the aim. Nothing is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import say
from siren_ext.experiments.pages import table
from siren_ext.experiments.preference_tables import TITLES, other_keys
from siren_ext.experiments.rows import Row, read_rows
from siren_ext.stats.shares import exact_interval


@dataclass(frozen=True)
class Aim:
    """The largest p that a model of a case should have.

    Attributes
    ----------
    case, control : str
        Names in the study.
    p : float
        The aim.
    """

    case: str
    control: str
    p: float


AIMS = (
    Aim("coated", "none", 1e-6),
    Aim("faint", "none", 1e-6),
    Aim("faint", "clean", 1e-6),
    Aim("share_20", "none", 1e-3),
    Aim("share_20", "clean", 1e-6),
    Aim("share_20", "three cleans", 1e-6),
    Aim("others_20", "none", 1e-6),
    Aim("others_20", "clean", 1e-6),
    Aim("share_10", "none", 1e-3),
    Aim("share_10", "clean", 1e-3),
    Aim("share_10", "three cleans", 1e-3),
    Aim("handled", "none", 1e-6),
    Aim("handled", "clean", 1e-6),
    Aim("handled", "three cleans", 1e-6),
    Aim("weak", "none", 1e-3),
    Aim("weak", "clean", 1e-3),
    Aim("weak_400", "none", 1e-3),
    Aim("weak_800", "none", 1e-3),
    Aim("weak_2000", "none", 1e-3),
)
"""One for each control with which a case should be found."""
INNOCENT = ("clean", "other images")
"""Cases whose training images were never coated."""


def targets(sets: dict[str, list[Row]]) -> list[str]:
    """The table of aims, and how often innocent models and other keys are accused.

    Parameters
    ----------
    sets : dict[str, list[dict]]
        Rows of the study by the name of the set.

    Returns
    -------
    list[str]
        Lines of Markdown. Models are counted over all sets; the interval is exact, at 95 %.
    """
    lines = []
    for aim in AIMS:
        cells, all_p = [], []
        for rows in sets.values():
            found = [
                float(row["p"])
                for row in rows
                if (row["case"], row["control"]) == (aim.case, aim.control)
            ]
            cells.append(", ".join(f"{p:.2g}" for p in found) or "not measured")
            all_p += found
        met = sum(p <= aim.p for p in all_p)
        said = f"{met} of {len(all_p)}"
        if all_p:
            low, high = exact_interval(met, len(all_p))
            said += f" ({100 * low:.0f} to {100 * high:.0f} %)"
        lines.append([TITLES[aim.case], aim.control, f"{aim.p:g}", *cells, said])
    head = ["trained on", "control", "aim", *sets, "met"]
    everything = [row for rows in sets.values() for row in rows]
    said = _innocents([row for row in everything if row["control"] == "none"])
    return [*table(head, lines).splitlines(), "", said, "", other_keys(everything)]


def _innocents(rows: list[Row]) -> str:
    """How often the owner's key is found in models that never saw it."""
    found = [float(row["p"]) for row in rows if row["case"] in INNOCENT]
    if not found:
        return "No innocent model is measured."
    said = []
    for alpha, text in ((0.05, ".05"), (0.01, ".01")):
        count = sum(p <= alpha for p in found)
        low, high = (100 * share for share in exact_interval(count, len(found)))
        said.append(f"up to {text} in {count} ({low:.0f} to {high:.0f} %)")
    return (
        f"Innocent models without a control ({len(found)}): p {', '.join(said)}. Those of one set "
        "share images and key, so the interval is too narrow."
    )


app = typer.Typer(add_completion=False)


@app.command()
def preference_targets(
    tables: Annotated[list[Path], typer.Argument(help="CSV tables of the study, one for a set.")],
) -> None:
    """Print p of every model of the study of preference beside its aim."""
    sets = {}
    for file in tables:
        rows = read_rows(file)
        if not rows or not {"case", "control", "p", "others_05", "others_01"} <= set(rows[0]):
            raise typer.BadParameter(f"{file} is no table of preference_study, or it is empty.")
        sets[file.stem.rpartition("_")[2]] = [
            row for row in rows if row.get("reading") in (None, "removed")
        ]
    for line in targets(sets):
        say(line)


if __name__ == "__main__":
    app()
