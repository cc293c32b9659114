"""Score images with a coater; files are read ahead, and a stopped run can be resumed."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from siren_ext.data.image_files import scan_images
from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.documents import parse_json, read_json
from siren_ext.errors import ImageError, ScoreError
from siren_ext.files import is_file, real_path, sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.scoring.appearance import looks_of
from siren_ext.scoring.control import control_features
from siren_ext.scoring.copies import phash_of
from siren_ext.scoring.score_set import MAX_TEXT, ScoreSet, require_same_coater
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

__all__ = [
    "PROVENANCE",
    "ScoreSet",
    "require_same_coater",
    "score_folder",
    "score_images",
]

PROVENANCE = "provenance.json"
_SAVE_SECONDS = 2.0
_PROVENANCE_BYTES = 8 << 20  # an eighth of what a file of scores may have
_PROVENANCE_INSIDE = 8  # levels around it in a report on joined scores


def score_images(
    images: Iterable[Path | Tensor],
    coater: Coater,
    *,
    batch_size: int = 16,
    workers: int = 2,
    source: dict[str, Any] | None = None,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Score images of any size.

    An image that cannot be read is added to ``failures``, and the others are scored.

    Parameters
    ----------
    images : Iterable[Path | Tensor]
        Image files, and tensors of 3 x H x W or 1 x 3 x H x W in [0,1]. Tensors are named
        ``tensor 0``, ``tensor 1`` and so on.
    coater : Coater
        The coater; scores do not depend on how images are batched.
    batch_size : int
        Images scored at once.
    workers : int
        Threads that decode and resize files ahead of the coater.
    source : dict[str, Any] | None
        How the images were made, as plain JSON values; stored in the set.
    partial : Path | None
        A file for finished scores, from which a stopped run is resumed; deleted at the end.
    progress : Progress
        One unit per image.

    Returns
    -------
    ScoreSet
        The scores, in the order of the images.

    Raises
    ------
    ScoreError
        If no image could be scored, or ``batch_size`` is below 1.
    Cancelled
        If the user stopped.
    """
    named = ((printable(image.name) if isinstance(image, Path) else "", image) for image in images)
    total = len(images) if isinstance(images, Sequence) else None
    options = _Options(batch_size, workers, partial, progress)
    return _score(named, coater, total, source or {}, options)


def score_folder(
    folder: Path | str,
    coater: Coater,
    *,
    batch_size: int = 16,
    workers: int = 2,
    source: dict[str, Any] | None = None,
    partial: Path | None = None,
    progress: Progress = NULL,
) -> ScoreSet:
    """Score the images in a folder.

    A ``provenance.json`` that was written by image generation is stored in
    ``source["provenance"]``.

    Parameters
    ----------
    folder : Path | str
        The folder; subfolders are not searched.
    coater, batch_size, workers, source, partial, progress
        As in :func:`score_images`.

    Returns
    -------
    ScoreSet
        The scores, in natural order of the file names. Links that leave the folder, and what is no
        regular file, are among the failures.

    Raises
    ------
    ScoreError
        If there is no such folder, or no image in it could be scored.
    Cancelled
        If the user stopped.
    """
    folder = Path(folder)
    try:
        paths, refused = scan_images(folder)
    except ImageError as error:
        raise ScoreError(str(error)) from error
    if not paths:
        raise ScoreError(f"{folder} contains no images; expected a folder of images.")
    known: dict[str, Any] = {"kind": "folder", "folder": printable(real_path(folder).name)}
    if is_file(folder / PROVENANCE):
        try:
            known["provenance"] = _provenance(folder / PROVENANCE)
        except ScoreError as error:  # it is only for information, so a bad one is only reported
            known["provenance_error"] = str(error)[:MAX_TEXT]
    named = ((printable(path.relative_to(folder).as_posix()), path) for path in paths)
    options = _Options(batch_size, workers, partial, progress)
    lost = [(printable(path.name)[:MAX_TEXT], why) for path, why in refused]
    return _score(named, coater, len(paths), known | (source or {}), options, lost)


def _provenance(path: Path) -> dict[str, Any]:
    """What came with the pictures, if files of scores and reports that contain it can be read."""
    found = read_json(path, error=ScoreError, max_bytes=_PROVENANCE_BYTES, name=path.name)
    if not isinstance(found, dict):
        raise ScoreError(
            f"{path.name} is no JSON object; expected what 'siren-ext generate' wrote."
        )
    wrapped = "[" * _PROVENANCE_INSIDE + json.dumps(found) + "]" * _PROVENANCE_INSIDE
    size = 4 * _PROVENANCE_BYTES  # characters may have become escapes
    parse_json(wrapped, error=ScoreError, name=path.name, max_bytes=size)
    return found


@dataclass(frozen=True)
class _Options:
    """Options of a scoring run."""

    batch_size: int
    workers: int
    partial: Path | None
    progress: Progress


@dataclass(frozen=True)
class _Ready:
    """One prepared image: its view for the coater, or why there is none."""

    name: str
    sha256: str
    view: Tensor | None = None
    looks: tuple[float, ...] = ()
    phash: str = ""
    error: str = ""


def _prepare(name: str, image: Path | Tensor, size: int) -> _Ready:
    """Decode and resize one image."""
    if isinstance(image, Tensor):
        view = image.detach()[None] if image.ndim == 3 else image.detach()
        if view.ndim != 4 or view.shape[:2] != (1, 3):
            shape = tuple(image.shape)
            return _Ready(name, "", error=f"The tensor has shape {shape}; expected 3 x H x W.")
        seen = square_view(view.float(), size)
        return _Ready(name, "", seen, looks_of(seen), phash_of(seen))
    try:
        view = to_tensor(read_picture(image).rgb)  # refuses a pipe, which hashing would wait for
        digest = sha256_file(image)
    except (ImageError, OSError) as error:
        return _Ready(name, "", error=printable(error)[:MAX_TEXT])
    seen = square_view(view, size)
    return _Ready(name, digest, seen, looks_of(seen), phash_of(seen))


def _stream(
    named: Iterable[tuple[str, Path | Tensor]], size: int, options: _Options
) -> Generator[_Ready, None, None]:
    """Prepared images in order; a few are prepared ahead of their use."""
    pool = ThreadPoolExecutor(max(1, options.workers))
    waiting: deque[Future[_Ready]] = deque()
    try:
        for index, (name, image) in enumerate(named):
            label = name or (f"tensor {index}" if isinstance(image, Tensor) else str(index))
            waiting.append(pool.submit(_prepare, label[:MAX_TEXT], image, size))
            if len(waiting) > options.batch_size + options.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Found:
    """Score and features of one image, and the features of its positive control."""

    score: float
    features: tuple[float, ...] | None = None
    control: tuple[float, ...] | None = None

    def finite(self) -> bool:
        """Whether all numbers are finite."""
        numbers = (self.score, *(self.features or ()), *(self.control or ()))
        return all(map(math.isfinite, numbers))


def _finished(options: _Options, coater: Coater, fingerprint: str) -> dict[str, _Found]:
    """Scores of a stopped run, by file hash."""
    if options.partial is None or not options.partial.exists():
        return {}
    try:
        kept = ScoreSet.load(options.partial)
    except ScoreError:
        return {}  # damaged, so start again
    tables = (kept.features, kept.control)
    if kept.coater != fingerprint or any((table is None) == coater.keyed for table in tables):
        return {}
    rows, controls = (
        [None] * len(kept) if table is None else map(tuple, table.tolist()) for table in tables
    )
    return {
        digest: _Found(float(score), row, control)
        for digest, score, row, control in zip(
            kept.hashes, kept.scores, rows, controls, strict=True
        )
        if digest
    }


@torch.no_grad()
def _scored(views: Tensor, coater: Coater) -> list[_Found]:
    """Scores of a batch of views; features and a positive control too if the coater is keyed."""
    if not coater.keyed:
        return [_Found(score) for score in coater.score(views).double().cpu().tolist()]
    placed = views.to(coater.center)
    features = coater.features(placed)
    scores = coater.distance(features).double().cpu().tolist()
    rows = features.double().cpu().tolist()
    controls = control_features(placed, coater).double().cpu().tolist()
    return [
        _Found(score, tuple(row), tuple(control))
        for score, row, control in zip(scores, rows, controls, strict=True)
    ]


def _score(
    named: Iterable[tuple[str, Path | Tensor]],
    coater: Coater,
    total: int | None,
    source: dict[str, Any],
    options: _Options,
    lost: Sequence[tuple[str, str]] = (),
) -> ScoreSet:
    """Score named images; ``lost`` are those that were refused before."""
    if options.batch_size < 1:
        raise ScoreError(f"batch_size is {options.batch_size}; expected at least 1.")
    fingerprint, progress = coater.fingerprint, options.progress
    next_save = float("-inf")
    reusable = _finished(options, coater, fingerprint)
    done: list[tuple[str, str, tuple[float, ...], str, _Found]] = []
    failures: list[tuple[str, str]] = list(lost)
    batch: list[_Ready] = []

    def result() -> ScoreSet:
        names, hashes, seen, phashes, found = zip(*done, strict=True) if done else ((),) * 5
        scores = np.array([one.score for one in found])
        keyed = coater.keyed and done
        rows = np.array([one.features for one in found]) if keyed else None
        controls = np.array([one.control for one in found]) if keyed else None
        looks = np.array(seen) if done else None
        missed, marks = tuple(failures), phashes or None
        return ScoreSet(
            scores, names, hashes, fingerprint, source, missed, rows, looks, controls, marks
        )

    def keep() -> None:
        nonlocal next_save
        if options.partial is not None and done:
            result().save(options.partial)
            next_save = time.monotonic() + _SAVE_SECONDS

    def flush() -> None:
        fresh = [item for item in batch if item.sha256 not in reusable]
        values: list[_Found] = []
        if fresh:
            views = torch.cat([item.view for item in fresh if item.view is not None])
            values = _scored(views, coater)
        computed = iter(values)
        for item in batch:
            known = reusable.get(item.sha256)
            value = next(computed) if known is None else known
            if value.finite():
                done.append((item.name, item.sha256, item.looks, item.phash, value))
            else:
                failures.append((item.name, "The coater gave a score that is not finite."))
        if fresh and time.monotonic() > next_save:
            keep()
        count = len(batch)
        batch.clear()
        progress.advance(count)

    progress.stage("Scoring images", total)
    stream = _stream(named, coater.config.working_size, options)
    try:
        for item in stream:
            if item.view is None:
                failures.append((item.name, item.error))
                progress.advance(note=f"skipped {item.name}")
                continue
            batch.append(item)
            if len(batch) == options.batch_size:
                flush()
        if batch:
            flush()
    except BaseException:  # a stop or a failure
        keep()
        raise
    finally:
        stream.close()
    if not done:
        first = f" The first error: {failures[0][1]}" if failures else ""
        raise ScoreError(f"None of {len(failures)} images could be scored.{first}")
    if options.partial is not None:
        options.partial.unlink(missing_ok=True)
    return result()
