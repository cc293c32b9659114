"""Writes one coated image with its caption and mask, and makes its entry for the manifest."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from msgspec import UNSET, UnsetType

from siren_ext.coating.formats import WEAK, WEAKENED, CompressionMeter, write_coated
from siren_ext.coating.manifest import CoatEntry, Compression
from siren_ext.coating.outputs import RENAMED, is_renamed, write_captions, write_mask
from siren_ext.coating.passes import Result
from siren_ext.coating.plan import CoatJob
from siren_ext.data.decode import Bytes
from siren_ext.data.images import Picture
from siren_ext.data.lossy import SUFFIXES
from siren_ext.files import sha256_file

NOTHING = (
    "Nothing was added: the strength is 0, or the image is too small or too plain for a coating."
)
"""Note on an image that is counted as coated and has the pixels of its source."""


def write_entry(
    job: CoatJob, picture: Picture, result: Result, out: Path, layout: str, meter: CompressionMeter
) -> CoatEntry:
    """Write an image, its captions and its mask.

    Parameters
    ----------
    job : CoatJob
        What is written, and where.
    picture : Picture
        The decoded source.
    result : Result
        What the coater made of it.
    out : Path
        The output folder.
    layout : str
        One of :data:`~siren_ext.coating.layouts.LAYOUTS`.
    meter : CompressionMeter
        Scores a lossy file as it was written.

    Returns
    -------
    CoatEntry
        What was done.

    Raises
    ------
    ImageError
        A file can't be written or read again.
    """
    path = out / job.output
    write_captions(job.item, job.output, out, layout)
    no_mask = write_mask(job.item, job.output, out, layout)
    if path.suffix.lower() in SUFFIXES["JPEG"]:  # chosen only for opaque images
        picture = dataclasses.replace(picture, alpha=None)
    coated = dataclasses.replace(picture, rgb=result.rgb)
    written, dropped = write_coated(coated, path, job.target.quality)
    own = [RENAMED] if is_renamed(job.item, job.output) else []
    own += [no_mask] if no_mask else []
    own += [NOTHING] if job.coated and np.array_equal(picture.rgb, result.rgb) else []
    score = result.coated_score
    compression: Compression | UnsetType = UNSET
    if job.target.quality is not None:
        compression = Compression(job.target.quality, None, None)
        if score is not None and result.clean_score is not None:
            before, score = score, meter.score(written)
            compression = meter.compression(
                job.target.quality,
                (picture.rgb, result.rgb, written),
                (result.clean_score, before, score),
            )
        if compression.kept is not None and compression.kept < WEAK:
            dropped.append(WEAKENED)
    return CoatEntry(
        source=job.item.name,
        output=job.output,
        source_sha256=job.sha256,
        output_sha256=sha256_file(path),
        coated=job.coated,
        psnr_db=_psnr(picture.rgb, written),
        clean_score=result.clean_score,
        coated_score=score,
        size=picture.size,
        notes=(*own, *job.target.notes, *picture.notes, *dropped),
        compression=compression,
    )


def _psnr(before: Bytes, after: Bytes) -> float | None:
    """Peak signal-to-noise ratio in dB of 8-bit pixels; None if they are equal."""
    difference = (after.astype(np.int16) - before).ravel()
    total = float(np.einsum("i,i->", difference, difference, dtype=np.int64))
    return None if total == 0 else 10 * math.log10(255**2 * difference.size / total)
