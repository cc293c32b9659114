"""Scores of a folder of images, computed once and kept in a file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from siren_ext.data.image_files import list_images
from siren_ext.errors import ScoreError
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater


def cached_scores(
    folder: Path,
    coater: Coater,
    file: Path,
    *,
    batch_size: int = 16,
    progress: Progress = NULL,
) -> ScoreSet:
    """Score a folder, or read the scores of an earlier call if the images are still the same.

    A stopped call leaves a ``.partial.json`` beside ``file``, from which the next one resumes.

    Parameters
    ----------
    folder : Path
        folder of images.
    coater : Coater
        measures them.
    file : Path
        the JSON file of the scores; written unless it fits, a damaged one is replaced.
    batch_size : int
        images scored at once.
    progress : Progress
        receives every image; may cancel.

    Returns
    -------
    ScoreSet
        one score per image, in order of the names.

    Raises
    ------
    ScoreError
        no image could be scored.
    Cancelled
        the user stopped; the same call resumes.
    """
    hashes = tuple(sha256_file(path) for path in list_images(folder))
    if file.is_file():
        try:
            kept = ScoreSet.load(file)
        except ScoreError:
            kept = None
        if kept is not None and (kept.coater, kept.hashes) == (coater.fingerprint, hashes):
            return kept
    # named after the images, as half-finished scores of other images don't fit
    mark = hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.stem}.{mark}.partial.json")
    scores = score_folder(folder, coater, batch_size=batch_size, partial=partial, progress=progress)
    scores.save(file)
    return scores
