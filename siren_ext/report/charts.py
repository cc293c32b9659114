"""Charts of a verdict: inline SVG whose colours follow the page, or one picture in pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from siren_ext.stats.keyed import KeyedResult
    from siren_ext.stats.ks import KsResult
    from siren_ext.stats.sequential import SequentialResult
    from siren_ext.verdict.verify import Verdict

Floats = NDArray[np.float64]

# matplotlib writes literal colours; these placeholders are replaced by the page's CSS variables.
_SUSPECT, _REFERENCE, _INK, _FAINT, _GRID, _CARD = (f"#0a0b{i:02x}" for i in range(6))
_VARIABLES = {
    _SUSPECT: "var(--suspect)",
    _REFERENCE: "var(--reference)",
    _INK: "var(--ink)",
    _FAINT: "var(--faint)",
    _GRID: "var(--line)",
    _CARD: "var(--card)",
}
# for pictures outside a page
_LITERAL = {
    _SUSPECT: "#c2410c",
    _REFERENCE: "#1d6fb8",
    _INK: "#1f2430",
    _FAINT: "#5c6475",
    _GRID: "#dfe3ea",
    _CARD: "#ffffff",
}
_SIZE = (5.4, 3.5)  # inches; 10 pt text stays legible at a phone's width
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
    """Histograms of both pools.

    Parameters
    ----------
    suspect, reference : Floats
        Distinct scores, one or more each.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "histogram"}):
        figure, axes = _figure()
        _draw_histogram(axes, suspect, reference)
        return _svg(figure, "Histograms of the suspect's and the reference's scores")


def sets_svg(
    published: Floats, unpublished: Floats, *, higher: str = "better known to the model"
) -> str:
    """Histograms of the scores of published and unpublished images.

    Parameters
    ----------
    published, unpublished : Floats
        Scores of a passive comparison, one or more each.
    higher : str
        What a higher score means.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "sets"}):
        figure, axes = _figure()
        _draw_histogram(axes, published, unpublished)
        axes.set_xlabel(f"score (higher = {higher})")
        axes.set_ylabel("share of the set's images (%)")
        return _svg(figure, "Histograms of the scores of published and unpublished images")


def distributions_svg(suspect: Floats, reference: Floats, finding: KsResult) -> str:
    """Distribution functions of both pools, with the largest gap D marked.

    Parameters
    ----------
    suspect, reference : Floats
        Distinct scores, one or more each.
    finding : KsResult
        The test's result.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "distributions"}):
        figure, axes = _figure()
        _draw_distributions(axes, suspect, reference, finding)
        return _svg(figure, "Distribution functions of both pools; the largest gap is D")


def decoys_svg(finding: KeyedResult) -> str:
    """How well random messages fit the images, and how well the secret message does.

    Parameters
    ----------
    finding : KeyedResult
        The test's result.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "decoys"}):
        figure, axes = _figure()
        _draw_decoys(axes, finding)
        return _svg(
            figure, "How well random messages fit the images, with the secret message marked"
        )


def path_svg(path: SequentialResult) -> str:
    """Evidence after each image, and the boundary at which it would have been enough.

    Parameters
    ----------
    path : SequentialResult
        The sequential test's result.

    Returns
    -------
    str
        SVG.
    """
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": "path"}):
        figure, axes = _figure()
        _draw_path(axes, path)
        return _svg(figure, "Evidence after each image, with the boundary that decides")


def verdict_picture(
    verdict: Verdict, suspect: Floats, reference: Floats, *, dots_per_inch: int = 110
) -> NDArray[np.uint8]:
    """Outcome, figures and both charts as one picture on white.

    Parameters
    ----------
    verdict : Verdict
        A verdict with a comparison with a reference.
    suspect, reference : Floats
        The distinct scores behind it.
    dots_per_inch : int
        Resolution; the picture is 9.6 x 4.4 inches.

    Returns
    -------
    NDArray[np.uint8]
        H x W x 3 pixels.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from siren_ext.verdict.wording import odds

    finding = verdict.finding
    figures = (
        f"p = {finding.p_value:.3g} ({odds(finding.p_value)}), accepted risk "
        f"{odds(verdict.alpha)}; {finding.n} suspect and {finding.m} reference images"
    )
    style = {key: _LITERAL.get(str(value), value) for key, value in _STYLE.items()}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(9.6, 4.4), dpi=dots_per_inch, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        _draw_histogram(left, suspect, reference, _LITERAL, labels=True)
        _draw_distributions(right, suspect, reference, finding, _LITERAL)
        # suptitle and supxlabel reserve their own space
        title = verdict.outcome[0].upper() + verdict.outcome[1:]
        figure.suptitle(title, fontsize=16, fontweight="bold", color=_LITERAL[_INK])
        figure.supxlabel(figures, fontsize=10, color=_LITERAL[_INK])
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())
    return np.ascontiguousarray(pixels[:, :, :3])


def _draw_histogram(
    axes: Any,
    suspect: Floats,
    reference: Floats,
    colours: Mapping[str, str] | None = None,
    *,
    labels: bool = False,
) -> None:
    colours = colours or {}
    bins = min(40, max(12, round(2 * math.sqrt(len(suspect) + len(reference)))))
    edges = np.histogram_bin_edges(np.concatenate([suspect, reference]), bins=bins)
    pools = ((reference, _REFERENCE, "reference"), (suspect, _SUSPECT, "suspect"))
    for values, colour, name in pools:
        colour = colours.get(colour, colour)
        share = 100 * np.histogram(values, edges)[0] / len(values)
        axes.stairs(share, edges, fill=True, color=colour, alpha=0.35, linewidth=0)
        axes.stairs(share, edges, color=colour, linewidth=1.6, label=name if labels else None)
    if labels:
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("score (lower = more like a coated image)")
    axes.set_ylabel("share of the pool's images (%)")


def _draw_distributions(
    axes: Any,
    suspect: Floats,
    reference: Floats,
    finding: KsResult,
    colours: Mapping[str, str] | None = None,
) -> None:
    colours = colours or {}
    ink, card = (colours.get(colour, colour) for colour in (_INK, _CARD))
    both = np.concatenate([suspect, reference])
    margin = 0.04 * float(np.ptp(both)) or 0.5
    low, high = float(both.min()) - margin, float(both.max()) + margin
    for values, colour in ((reference, _REFERENCE), (suspect, _SUSPECT)):
        colour = colours.get(colour, colour)
        steps = np.concatenate([[low], np.sort(values), [high]])
        height = 100 * np.concatenate([[0], np.arange(1, len(values) + 1), [len(values)]])
        axes.step(steps, height / len(values), where="post", color=colour, linewidth=1.8)
    if finding.location is not None:
        at = finding.location
        ends = [100 * float((values <= at).mean()) for values in (suspect, reference)]
        axes.plot([at, at], ends, color=ink, linewidth=1.6, marker="_", markersize=9)
        place, (side, rise) = _free_spot(ends, (at - low) / (high - low))
        axes.annotate(
            f"D = {finding.statistic:.3f}",
            (at, place),
            xytext=(9 * side, 9 * rise),
            textcoords="offset points",
            ha="left" if side > 0 else "right",
            va={-1: "top", 0: "center", 1: "bottom"}[rise],
            color=ink,
            fontweight="bold",
            bbox={"facecolor": card, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
    axes.set_xlim(low, high)
    axes.set_ylim(0, 102)
    axes.set_xlabel("score s")
    axes.set_ylabel("images with a score of s or less (%)")


def _draw_decoys(axes: Any, finding: KeyedResult) -> None:
    # in units of the largest possible statistic
    edges = np.linspace(-1, 1, len(finding.histogram) + 1)
    share = 100 * np.array(finding.histogram)
    axes.stairs(share, edges, fill=True, color=_REFERENCE, alpha=0.35, linewidth=0)
    axes.stairs(share, edges, color=_REFERENCE, linewidth=1.6)
    at = finding.statistic / finding.span if finding.span else 0.0
    axes.axvline(at, color=_SUSPECT, linewidth=2.2)
    axes.annotate(
        "secret message",
        (at, 0.94),
        xycoords=("data", "axes fraction"),
        xytext=(-7 if at > 0 else 7, 0),
        textcoords="offset points",
        ha="right" if at > 0 else "left",
        va="top",
        color=_SUSPECT,
        fontweight="bold",
        bbox={"facecolor": _CARD, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )
    axes.set_xlim(-1.04, 1.04)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("how well a message fits the images (1 = perfectly)")
    axes.set_ylabel("share of all possible messages (%)")


def _draw_path(axes: Any, path: SequentialResult) -> None:
    boundary = -math.log10(path.alpha)
    powers = np.concatenate([[0.0], np.array(path.path) / math.log(10)])
    axes.axhline(boundary, color=_INK, linewidth=1.4, linestyle=(0, (5, 3)))
    axes.plot(np.arange(len(powers)), powers, color=_SUSPECT, linewidth=1.8)
    if path.stopped_at is not None:
        axes.plot([path.stopped_at], [powers[path.stopped_at]], "o", color=_SUSPECT, markersize=7)
    # keep the label clear of the path: below the boundary if the path crosses it, else above
    crossed = path.stopped_at is not None
    axes.annotate(
        f"enough after {path.stopped_at} images" if crossed else "enough",
        (0.98 if crossed else 0.02, boundary),
        xycoords=("axes fraction", "data"),
        xytext=(0, -5 if crossed else 4),
        textcoords="offset points",
        ha="right" if crossed else "left",
        va="top" if crossed else "bottom",
        color=_INK,
        fontweight="bold",
        bbox={"facecolor": _CARD, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )
    axes.set_xlim(0, max(1, len(path.path)))
    low, high = min(0.0, float(powers.min())), max(boundary, float(powers.max()))
    axes.set_ylim(low - 0.05 * (high - low), high + 0.16 * (high - low))
    axes.set_xlabel("images tested, in order")
    axes.set_ylabel("evidence (powers of ten)")


def _free_spot(ends: list[float], across: float) -> tuple[float, tuple[int, int]]:
    """A place for the label of D that covers no curve: height in %, and direction (right, up).

    ``ends`` are the heights of the two curves at D, ``across`` is its horizontal position (0 to 1).
    """
    bottom, top = sorted(ends)
    if top - bottom > 30:  # inside the gap, away from the curve that bends into it
        right = across <= 0.5
        return bottom + (top - bottom) * (0.72 if right else 0.28), (1 if right else -1, 0)
    if bottom > 15 and across < 0.75:
        return bottom, (1, -1)  # rising curves leave the lower right empty
    return top, (-1 if across > 0.3 else 1, 1)  # further left the label would cover the axis


def _figure() -> tuple[Any, Any]:
    # Not pyplot, which keeps global figures and selects a screen backend.
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
