"""Plots of the paper's tables: p of every model, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.experiments.paper_tables import TABLES
from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure

_KINDS = (("p_pictures", "all pictures", "o", -0.16), ("p_file", "model's file", "s", 0.16))
_LEVELS = (1e-3, 1e-6)
_LEAST = 1e-12


def plotted(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Names of the tables that have enough for a plot: two rows with p of a guilty model.

    Parameters
    ----------
    rows : sequence of dict
        Everything that was measured.
    """
    return [name for name in TABLES if len(_lines(rows, name)) > 1]


def plot_table(rows: Sequence[dict[str, Any]], name: str, path: Path) -> None:
    """Plot p of the models of a table.

    Parameters
    ----------
    rows : sequence of dict
        Everything that was measured; those of the table's first set are drawn.
    name : str
        The table.
    path : Path
        The PNG file.
    """
    titles = _lines(rows, name)
    figure = new_figure(8, 1.4 + 0.36 * len(titles))
    axes = figure.subplots()
    data = next(row["set"] for row in rows if row["table"] == name)
    for role, filled in (("innocent", False), ("guilty", True)):
        for column, title, marker, shift in _KINDS:
            colour = COLOURS[role]
            points = [
                (max(float(row[column]), _LEAST), titles.index(row["row"]) + shift)
                for row in rows
                if row["table"] == name and row["role"] == role and row["row"] in titles
                and row["set"] == data and row.get(column) not in ("", None)
            ]  # fmt: skip
            if points:
                places = np.asarray(points)
                axes.scatter(
                    places[:, 0], places[:, 1], s=22, marker=marker, edgecolors=colour,
                    facecolors=colour if filled else "none", label=f"{role}, {title}",
                )  # fmt: skip
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_yticks(range(len(titles)), titles, fontsize=8)
    axes.set_ylim(len(titles) - 0.5, -0.5)  # the first row on top
    axes.set_xlabel("p of the keyed test (smaller to the right)")
    for level in _LEVELS:
        axes.axvline(level, color="black", linewidth=0.6, linestyle=":")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    save_figure(figure, path)


def _lines(rows: Sequence[dict[str, Any]], name: str) -> list[str]:
    """The rows of a table that have a p of a guilty model, in the table's order."""
    found = {
        row["row"]
        for row in rows
        if row["table"] == name and row["role"] == "guilty"
        and row.get("p_pictures") not in ("", None)
    }  # fmt: skip
    return [cell.row for cell in TABLES[name].cells if cell.row in found]
