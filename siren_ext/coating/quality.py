"""Measures coated files as they are on disk: 8 bits, in the published size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siren_ext.coating.manifest import CoatEntry, CoatManifest
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.metrics.quality import change_of
from siren_ext.progress import NULL, Progress


def measure_files(
    manifest: CoatManifest,
    originals: Mapping[str, Path],
    coated: Path,
    progress: Progress = NULL,
) -> list[dict[str, Any]]:
    """Measure every coated file against its original.

    Parameters
    ----------
    manifest : CoatManifest
        The record of the coating run.
    originals : Mapping[str, Path]
        The clean file of every source name.
    coated : Path
        Folder of the coated files.
    progress : Progress
        Counts the files.

    Returns
    -------
    list[dict[str, Any]]
        For each file: PSNR in dB (None if no pixel changed), SSIM, local CIEDE2000 (99th
        percentile after a 9-pixel blur), and the scores of the original and of the coated file.

    Raises
    ------
    ImageError
        A file can't be read.
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
    return {
        "source": entry.source,
        "output": entry.output,
        "sha256": entry.output_sha256,
        **change_of(before, after)._asdict(),
        "clean_score": entry.clean_score,
        "coated_score": entry.coated_score,
    }


def below_every_clean(rows: list[dict[str, Any]]) -> int:
    """Count the coated files that score below *every* clean file.

    Parameters
    ----------
    rows : list[dict[str, Any]]
        From :func:`measure_files`; at least one.

    Returns
    -------
    int
        The number of files.
    """
    limit = min(row["clean_score"] for row in rows)
    return sum(row["coated_score"] < limit for row in rows)
