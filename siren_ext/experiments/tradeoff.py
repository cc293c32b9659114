"""Detection rate against visibility: a point per detection study, from its ``detection.json``.

Example::

    python -m siren_ext.experiments.tradeoff runs/*/detection.json --out tradeoff.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from siren_ext.cli.common import command, say
from siren_ext.errors import ScoreError
from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure
from siren_ext.experiments.result import read_result
from siren_ext.experiments.rows import write_rows

LEVEL = 1e-3
_MARKERS = "osD^vP*X"
Point = dict[str, Any]


def read_point(path: Path) -> Point:
    """Read the figures of a study for the plot.

    Parameters
    ----------
    path : Path
        ``detection.json`` of a finished study.

    Returns
    -------
    dict[str, Any]
        set, PSNR, area under the curve, and detection rate at 1e-3.

    Raises
    ------
    ScoreError
        the file is not of a study, or a figure is missing.
    """
    result = read_result(path)
    rate = next((row for row in result.guilty if row.alpha == LEVEL), None)
    areas = {
        role: [row.auc for row in result.models if row.role == role and row.auc is not None]
        for role in ("guilty", "innocent")
    }
    if rate is None or not all(areas.values()):
        raise ScoreError(
            f"{path} has no detection rate at {LEVEL:g}, or no area under the curve of a "
            "guilty and an innocent model; expected both. Run the study again."
        )
    point: Point = {
        "study": path.resolve().parent.name,
        "set": result.name,
        "psnr_db": result.files.psnr_db.mean,
        "local_de00_p99": result.files.local_de00_p99.mean,
        "tpr": rate.mean,
        "tpr_lowest": rate.lowest,
        "tpr_highest": rate.highest,
    }
    for role, found in areas.items():
        point[f"auc_{role}"] = sum(found) / len(found)
        point[f"auc_{role}_lowest"], point[f"auc_{role}_highest"] = min(found), max(found)
    if point["psnr_db"] is None:
        raise ScoreError(f"{path} has no PSNR, as its coater changed no image; leave it out.")
    return point


def plot_tradeoff(points: Sequence[Point], path: Path) -> None:
    """Plot area under the curve and detection rate at 1e-3 against PSNR; bars span the seeds.

    Parameters
    ----------
    points : Sequence[dict[str, Any]]
        of :func:`read_point`.
    path : Path
        the PNG file.
    """
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    sets = list(dict.fromkeys(point["set"] for point in points))
    for number, name in enumerate(sets):
        marker = _MARKERS[number % len(_MARKERS)]
        own = sorted((p for p in points if p["set"] == name), key=lambda p: float(p["psnr_db"]))
        for axes, key, role in (
            (left, "auc_guilty", "guilty"),
            (left, "auc_innocent", "innocent"),
            (right, "tpr", "guilty"),
        ):
            middle = [point[key] for point in own]
            bars = [
                [point[key] - point[f"{key}_lowest"] for point in own],
                [point[f"{key}_highest"] - point[key] for point in own],
            ]
            axes.errorbar(
                [point["psnr_db"] for point in own],
                middle,
                yerr=bars,
                color=COLOURS[role],
                marker=marker,
                linewidth=1,
                capsize=3,
                label=f"{name}, {role}",
            )
    for axes, title in ((left, "AUC of the images"), (right, f"caught at alpha {LEVEL:g}")):
        axes.set_xlabel("PSNR of the coated files (dB)")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    left.set_ylim(0.3, 1.02)
    right.set_ylim(-0.02, 1.02)
    left.axhline(0.5, color="black", linestyle=":", linewidth=1)
    left.legend(frameon=False, fontsize=8)
    for point in points:
        right.annotate(
            point["study"],
            (point["psnr_db"], point["tpr"]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=7,
        )
    save_figure(figure, path)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "tradeoff",
    example="python -m siren_ext.experiments.tradeoff runs/*/detection.json --out tradeoff.png",
)
def tradeoff(
    files: Annotated[list[Path], typer.Argument(help="detection.json files of studies.")],
    out: Annotated[Path, typer.Option("--out", help="Picture; a table (.csv) goes beside it.")],
) -> None:
    """Plot how often guilty models are caught against how visible the coating is."""
    points = [read_point(path) for path in files]
    plot_tradeoff(points, out)
    table = out.with_suffix(".csv")
    write_rows(points, table)
    say(f"{out}\n{table}")


if __name__ == "__main__":
    app()
