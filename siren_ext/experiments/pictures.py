"""The pictures of a detection study: scores and detection rates, and a sheet of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.errors import MissingExtraError
from siren_ext.files import atomic
from siren_ext.stats.resample import PAPER_ALPHAS

AMPLIFICATION = 8
SHOWN = 6
# Orange and blue of Okabe and Ito, and grey, which colour-blind people can distinguish.
COLOURS = {"guilty": "#d55e00", "innocent": "#0072b2", "reference": "#777777"}
_TILE = 192


def new_figure(width: float, height: float) -> Any:
    """Make a matplotlib figure without global state.

    Parameters
    ----------
    width, height : float
        inches.

    Returns
    -------
    matplotlib.figure.Figure
        an empty figure.

    Raises
    ------
    MissingExtraError
        matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, atomically.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        the figure.
    path : Path
        the file.
    """
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def plot_detection(result: dict[str, Any], path: Path) -> None:
    """Plot score histograms per training seed (left) and shares of accused models (right).

    Parameters
    ----------
    result : dict[str, Any]
        of :func:`~siren_ext.experiments.detection.run_detection`.
    path : Path
        the PNG file.
    """
    models = result["models"]
    reference = np.array(next(m for m in models if m["role"] == "reference")["scores"])
    pairs = [[m for m in models if m["role"] == role] for role in ("guilty", "innocent")]
    count = len(pairs[0])
    figure = new_figure(12, max(4.5, 2.0 * count))
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, 1))
    every = np.concatenate([np.array(model["scores"]) for model in models])
    edges = np.histogram_bin_edges(every, bins=40)
    axes = left.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for number, (guilty, innocent) in enumerate(zip(*pairs, strict=True)):
        pools = {
            "reference": reference,
            "innocent": np.array(innocent["scores"]),
            "guilty": np.array(guilty["scores"]),
        }
        for role, scores in pools.items():
            share = 100 * np.histogram(scores, edges)[0] / len(scores)
            label = f"{role} ({len(scores)})"
            if role != "reference":
                model = guilty if role == "guilty" else innocent
                label += f", AUC {model['auc']:.2f}"
            axes[number].stairs(share, edges, fill=True, alpha=0.2, color=COLOURS[role])
            axes[number].stairs(share, edges, color=COLOURS[role], label=label, linewidth=1.5)
        axes[number].set_ylabel(f"seed {number + 1}: images (%)")
        axes[number].legend(frameon=False, fontsize=8, loc="upper right")
    axes[-1].set_xlabel("score (further left = more like a coated image)")
    _rates(right, pairs)
    noise = result["files"]["psnr_db"]["mean"]
    quality = "" if noise is None else f", coated files at {noise:.1f} dB"
    drawn = result["protocol"]
    protocol = f"tests of {drawn['size']} images against {drawn['against']}"
    figure.suptitle(f"{result['name']}{quality}; {protocol}")
    save_figure(figure, path)


def _rates(figure: Any, pairs: list[list[dict[str, Any]]]) -> None:
    upper, lower = figure.subplots(2, 1)
    alphas = np.array(PAPER_ALPHAS)
    for models in pairs:
        role = models[0]["role"]
        curves = np.array([model["curve"] for model in models])
        for curve in curves:
            upper.plot(alphas, 100 * curve, color=COLOURS[role], alpha=0.35, linewidth=1)
            if role == "innocent":
                lower.plot(alphas, curve, color=COLOURS[role], alpha=0.35, linewidth=1)
        mean = curves.mean(axis=0)
        upper.plot(alphas, 100 * mean, color=COLOURS[role], linewidth=2, label=f"{role}, mean")
        if role == "innocent":
            lower.plot(alphas, mean, color=COLOURS[role], linewidth=2, label="innocent, mean")
    upper.set_xscale("log")
    upper.set_xlim(0.1, 1e-20)
    upper.set_ylim(-2, 102)
    upper.set_ylabel("accused (%)")
    upper.set_xlabel("accepted risk alpha")
    upper.legend(frameon=False, fontsize=8)
    lower.plot(alphas, alphas, color="black", linestyle="--", linewidth=1, label="the stated risk")
    lower.set_xscale("log")
    lower.set_yscale("symlog", linthresh=1e-4)
    lower.set_xlim(1e-4, 0.1)
    lower.set_ylim(0, 1)
    lower.set_xlabel("accepted risk alpha")
    lower.set_ylabel("innocent models accused")
    lower.legend(frameon=False, fontsize=8)


def write_samples(
    pairs: Sequence[tuple[Path, Path]],
    labels: Sequence[str],
    mimicries: dict[str, Sequence[Path]],
    path: Path,
) -> None:
    """Write a sheet of originals, coated files, their difference times 8, and mimicries.

    Parameters
    ----------
    pairs : Sequence[tuple[Path, Path]]
        (original, coated file), one per column.
    labels : Sequence[str]
        captions of the coated files.
    mimicries : dict[str, Sequence[Path]]
        image files by title; the first few are shown.
    path : Path
        the PNG file.
    """
    from siren_ext.pocket.card import contact_sheet

    rows: list[tuple[list[Tensor], list[str]]] = [([], []), ([], []), ([], [])]
    for (original, coated), label in zip(pairs, labels, strict=True):
        before, after = _tile(original), _tile(coated)
        change = ((after - before) * AMPLIFICATION + 0.5).clamp(0, 1)
        texts = (f"clean {original.stem}", label, f"difference x {AMPLIFICATION}")
        for row, image, text in zip(rows, (before, after, change), texts, strict=True):
            row[0].append(image)
            row[1].append(text)
    for title, files in mimicries.items():
        chosen = list(files)[: len(pairs)]
        blank = [before * 0 + 1] * (len(pairs) - len(chosen))
        tiles = [*map(_tile, chosen), *blank]
        rows.append((tiles, [*(f"{title} {file.stem}" for file in chosen), *[""] * len(blank)]))
    images = [image for row in rows for image in row[0]]
    captions = [caption for row in rows for caption in row[1]]
    sheet = contact_sheet(images, captions, columns=len(pairs))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def _tile(path: Path) -> Tensor:
    return crop_view(to_tensor(read_picture(path).rgb), _TILE)[0]
