"""Figures of all coated files together."""

from __future__ import annotations

from typing import Any

import numpy as np

from siren_ext.coating.quality import below_every_clean
from siren_ext.errors import ScoreError
from siren_ext.experiments.measures import area


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the coated files.

    Parameters
    ----------
    rows : list[dict[str, Any]]
        of :func:`siren_ext.coating.quality.measure_files`.

    Returns
    -------
    dict[str, Any]
        means and worst values of PSNR (dB), SSIM and local colour difference; ``auc``, how well
        coated and clean scores are separated; ``below_every_clean``, the share of coated files that
        score below *every* clean file.

    Raises
    ------
    ScoreError
        there is no coated file.
    """
    if not rows:
        raise ScoreError("No image was coated, so there is nothing to study; use another set.")
    noise = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
    clean = np.array([row["clean_score"] for row in rows])
    coated = np.array([row["coated_score"] for row in rows])
    separation = area(coated, clean)
    below = below_every_clean(rows)
    return {
        "files": len(rows),
        "unchanged": len(rows) - len(noise),
        "psnr_db": {
            "mean": float(np.mean(noise)) if noise else None,
            "worst": float(min(noise)) if noise else None,
        },
        "ssim": _of([row["ssim"] for row in rows], min),
        "local_de00_p99": _of([row["local_de00_p99"] for row in rows], max),
        "below_every_clean": below / len(rows),
        "below_count": below,
        "auc": separation.value,
    }


def _of(values: list[float], worst: Any) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "worst": float(worst(values))}
