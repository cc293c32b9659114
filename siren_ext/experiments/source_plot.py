"""The picture of the study of source attribution: conf by rho, and by the number of key samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from siren_ext.experiments.pictures import COLOURS, new_figure, save_figure
from siren_ext.experiments.source_tables import POOLED, Row

_KEYS = {"detection": COLOURS["guilty"], "random": COLOURS["reference"]}
_OTHER = COLOURS["innocent"]
_GAP = "gap at N = "


def plot_source(rows: Sequence[Row], path: Path) -> None:
    """Plot mean conf by rho (left) and its lead over innocent models by N (right).

    Parameters
    ----------
    rows : sequence of dict
        Of :func:`siren_ext.experiments.source_tables.finding_rows`; those of all sources together
        are drawn, if there are several.
    path : Path
        The PNG file.
    """
    figure = new_figure(10, 4)
    left, right = figure.subplots(1, 2)
    pooled = [row for row in rows if row["source"] == POOLED] or list(rows)
    kinds = list(dict.fromkeys(row["keys"] for row in pooled if row["metric"] == "conf"))
    for place, keys in enumerate(kinds):
        colour, shift = _KEYS.get(keys, _OTHER), 0.006 * (place - (len(kinds) - 1) / 2)
        conf = sorted(
            (row for row in pooled if row["keys"] == keys and row["metric"] == "conf"),
            key=lambda row: float(row["rho"]),
        )
        _line(left, [float(row["rho"]) + shift for row in conf], conf, keys, colour)
        gaps = [
            row for row in pooled if row["keys"] == keys and str(row["metric"]).startswith(_GAP)
        ]
        numbers = [float(str(row["metric"]).removeprefix(_GAP)) + 10 * shift for row in gaps]
        _line(right, numbers, gaps, keys, colour)
    left.set_xlabel("share of the source's pictures in the training set (0: innocent)")
    left.set_ylabel("mean conf")
    left.set_ylim(0, 1)
    right.set_xlabel("key samples N")
    right.set_ylabel("mean conf, infringing minus innocent")
    right.axhline(0, color="black", linewidth=0.8)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _line(axes: object, places: list[float], rows: list[Row], label: str, colour: str) -> None:
    values = [row["value"] for row in rows]
    below = [row["value"] - row["low"] for row in rows]
    above = [row["high"] - row["value"] for row in rows]
    style = {"color": colour, "marker": "o", "capsize": 3, "linewidth": 1.5}
    axes.errorbar(places, values, [below, above], label=f"key samples: {label}", **style)  # type: ignore[attr-defined]
