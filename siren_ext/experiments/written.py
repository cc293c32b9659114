"""Figures of the coated files as they lie on disk: 8 bits, in the size that is published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.coating import CoatEntry, CoatManifest
from siren_ext.errors import ScoreError
from siren_ext.experiments.measures import area
from siren_ext.images import read_picture, to_tensor
from siren_ext.progress import Progress
from siren_ext.quality import local_de00_p99, psnr, ssim


def measure_files(
    manifest: CoatManifest, originals: Mapping[str, Path], coated: Path, progress: Progress
) -> list[dict[str, Any]]:
    """One row per coated file: PSNR in dB (None: not one pixel changed), SSIM, local CIEDE2000
    (99th percentile after a 9-px blur), and the scores of the original and of the written file.
    """
    entries = [entry for entry in manifest.entries if entry.coated]
    progress.stage("Measuring the coated files", len(entries))
    rows = []
    for entry in entries:
        rows.append(_measure(entry, originals[entry.source], coated))
        progress.advance(1, entry.source)
    return rows


def _measure(entry: CoatEntry, original: Path, coated: Path) -> dict[str, Any]:
    before = to_tensor(read_picture(original).rgb)
    after = to_tensor(read_picture(coated / entry.output).rgb)
    noise = float(psnr(before, after)[0])
    return {
        "source": entry.source,
        "output": entry.output,
        "sha256": entry.output_sha256,
        "psnr_db": noise if math.isfinite(noise) else None,
        "ssim": float(ssim(before, after)[0]),
        "local_de00_p99": float(local_de00_p99(before, after)[0]),
        "clean_score": entry.clean_score,
        "coated_score": entry.coated_score,
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and worst values over the files, and how far coated and clean scores are apart.

    ``below_every_clean`` is the share of coated files that score below *every* clean file.

    Raises:
        ScoreError: there is no coated file.
    """
    if not rows:
        raise ScoreError("Not one image was coated; there is nothing to study.")
    noise = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
    clean = np.array([row["clean_score"] for row in rows])
    coated = np.array([row["coated_score"] for row in rows])
    separation = area(coated, clean)
    below = coated < clean.min()
    return {
        "files": len(rows),
        "unchanged": len(rows) - len(noise),
        "psnr_db": {
            "mean": float(np.mean(noise)) if noise else None,
            "worst": float(min(noise)) if noise else None,
        },
        "ssim": _of([row["ssim"] for row in rows], min),
        "local_de00_p99": _of([row["local_de00_p99"] for row in rows], max),
        "below_every_clean": float(below.mean()),
        "below_count": int(below.sum()),
        "auc": separation.value,
    }


def _of(values: list[float], worst: Any) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "worst": float(worst(values))}
