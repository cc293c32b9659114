"""The two charts of a report as inline SVG whose colours follow the page (light, dark, print)."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from siren_ext.stats.ks import KsResult

Floats = NDArray[np.float64]

# matplotlib writes literal colours; these stand-ins are swapped for the page's CSS variables.
_SUSPECT, _REFERENCE, _INK, _FAINT, _GRID, _CARD = (f"#0a0b{i:02x}" for i in range(6))
_VARIABLES = {
    _SUSPECT: "var(--suspect)",
    _REFERENCE: "var(--reference)",
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--line)",
    _CARD: "var(--card)",
}
_SIZE = (5.4, 3.5)  # inches; text of 10 pt stays legible when shrunk to a phone's width
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.parse_math": False,
}


def histogram_svg(suspect: Floats, reference: Floats) -> str:
    """Share of each pool per score interval, suspect and reference over each other."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "histogram"}):
        figure, axes = _figure()
        bins = min(40, max(12, round(2 * math.sqrt(len(suspect) + len(reference)))))
        edges = np.histogram_bin_edges(np.concatenate([suspect, reference]), bins=bins)
        for values, colour in ((reference, _REFERENCE), (suspect, _SUSPECT)):
            share = 100 * np.histogram(values, edges)[0] / len(values)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
            axes.stairs(share, edges, color=colour, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("score (further left = more like a coated image)")
        axes.set_ylabel("share of the pool's images (%)")
        return _svg(figure, "Histograms of the suspect's and the reference's scores")


def distributions_svg(suspect: Floats, reference: Floats, finding: KsResult) -> str:
    """Both empirical distribution functions with the largest gap D marked where it occurs."""
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "distributions"}):
        figure, axes = _figure()
        both = np.concatenate([suspect, reference])
        margin = 0.04 * float(np.ptp(both)) or 0.5
        low, high = float(both.min()) - margin, float(both.max()) + margin
        for values, colour in ((reference, _REFERENCE), (suspect, _SUSPECT)):
            steps = np.concatenate([[low], np.sort(values), [high]])
            height = 100 * np.concatenate([[0], np.arange(1, len(values) + 1), [len(values)]])
            axes.step(steps, height / len(values), where="post", color=colour, linewidth=1.8)
        if finding.location is not None:
            at = finding.location
            ends = [100 * float((values <= at).mean()) for values in (suspect, reference)]
            axes.plot([at, at], ends, color=_INK, linewidth=1.6, marker="_", markersize=9)
            place, (side, rise) = _free_spot(ends, (at - low) / (high - low))
            axes.annotate(
                f"D = {finding.statistic:.3f}",
                (at, place),
                xytext=(9 * side, 9 * rise),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va={-1: "top", 0: "center", 1: "bottom"}[rise],
                color=_INK,
                fontweight="bold",
                bbox={"facecolor": _CARD, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )
        axes.set_xlim(low, high)
        axes.set_ylim(0, 102)
        axes.set_xlabel("score s")
        axes.set_ylabel("images that score s or less (%)")
        return _svg(figure, "Distribution functions of both pools; the largest gap is D")


def _free_spot(ends: list[float], across: float) -> tuple[float, tuple[int, int]]:
    """Where the label of D covers no curve: its height in % and its side (right, up) of it.

    ``ends`` are the heights of the two curves at D, ``across`` is how far right that is (0 to 1).
    """
    bottom, top = sorted(ends)
    if top - bottom > 30:  # inside the gap, away from the curve that bends into it
        right = across <= 0.5
        return bottom + (top - bottom) * (0.72 if right else 0.28), (1 if right else -1, 0)
    if bottom > 15 and across < 0.75:
        return bottom, (1, -1)  # rising curves leave the lower right free
    return top, (-1, 1)


def _figure() -> tuple[Any, Any]:
    # The object interface: pyplot would keep global figures and pick a screen backend.
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots()


def _svg(figure: Any, label: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for stand_in, variable in _VARIABLES.items():
        text = text.replace(stand_in, variable)
    start = text.index("<metadata>") if "<metadata>" in text else -1
    if start >= 0:
        text = text[:start] + text[text.index("</metadata>") + len("</metadata>") :]
    width, height = (round(72 * side) for side in _SIZE)
    box = f'viewBox="0 0 {width} {height}"'
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    opening = f'<svg {spaces} role="img" aria-label="{label}" {box}>'
    return opening + text[text.index(">") + 1 :]
