"""The picture of the spectrum: what is learnt of each band, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from siren_ext.experiments.pictures import new_figure, save_figure

Row = dict[str, Any]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777")
_DASHES = ((1, 2), (3, 2), (7, 2), ())  # the longest training is a full line


def plot_spectrum(rows: Sequence[Row], path: Path) -> None:
    """Plot the share that is learnt (above) and its worth (below), a frame for each colour axis.

    Parameters
    ----------
    rows : sequence of dict
        Of the study.
    path : Path
        The PNG file.
    """
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    lines = list(dict.fromkeys((row["condition"], row["steps"]) for row in rows))
    names = list(dict.fromkeys(name for name, _ in lines))
    lengths = sorted({steps for _, steps in lines})[-len(_DASHES) :]
    figure = new_figure(4 * len(axes) + 3, 7)
    frames = figure.subplots(2, len(axes), sharex=True, sharey="row", squeeze=False)
    for column, axis in enumerate(axes):
        for condition, steps in lines:
            found = [
                row
                for row in rows
                if (row["axis"], row["condition"], row["steps"]) == (axis, condition, steps)
            ]
            dashes = _DASHES[lengths.index(steps) - len(lengths)] if steps in lengths else (1, 5)
            colour = _COLOURS[names.index(condition) % len(_COLOURS)]
            style: Row = {"color": colour, "marker": ".", "dashes": dashes}
            style["label"] = f"{condition}, {steps} steps"
            places = range(len(found))
            upper, lower = frames[0][column], frames[1][column]
            errors = [row["error"] for row in found]
            upper.errorbar(places, [row["learnt"] for row in found], errors, capsize=2, **style)
            lower.plot(places, [row["worth"] for row in found], **style)
            lower.set_xticks(list(places), [_cycles(row) for row in found], rotation=45)
        frames[0][column].set_title(axis)
        frames[0][column].axhline(0, color="black", linewidth=0.8)
        frames[1][column].set_yscale("symlog", linthresh=0.1)
        frames[1][column].set_ylim(bottom=0)
        frames[1][column].set_xlabel("cycles per side")
    frames[0][0].set_ylabel("share of the band that is learnt")
    frames[1][0].set_ylabel("worth: learnt squared by variance")
    frames[0][-1].legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(figure, path)


def _cycles(row: Row) -> str:
    return f"{row['low']:g} to {row['high']:g}" if row["high"] else "0"
