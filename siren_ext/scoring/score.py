"""Score images with a coater; files are read ahead, and a stopped run can be resumed."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from siren_ext.data.image_files import scan_images
from siren_ext.data.survey import why_unscored
from siren_ext.documents import parse_json, read_json
from siren_ext.errors import ImageError, ScoreError
from siren_ext.files import is_file, real_path
from siren_ext.progress import NULL, Progress
from siren_ext.ranks import current
from siren_ext.scoring.score_set import MAX_TEXT, ScoreSet, require_same_coater
from siren_ext.scoring.views import NOT_FINITE, ImageScore, Prepared, Scored, prepare_image, scored
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
    paths, lost, known = folder_images(Path(folder))
    options = _Options(batch_size, workers, partial, progress)
    return _score(paths, coater, len(paths), known | (source or {}), options, lost)


def folder_images(
    folder: Path,
) -> tuple[list[tuple[str, Path]], list[tuple[str, str]], dict[str, Any]]:
    """What :func:`score_folder` scores.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    images : list of (str, Path)
        Name and file of each image, in natural order.
    lost : list of (str, str)
        Name of what is not opened for safety, and why.
    source : dict
        What the set says about the folder.

    Raises
    ------
    ScoreError
        If there is no such folder, or it has no images.
    """
    try:
        paths, refused = scan_images(folder)
    except ImageError as error:
        raise ScoreError(str(error)) from error
    if not paths:
        why = why_unscored(folder)
        raise ScoreError(f"{folder} contains no images; expected a folder of images.{why}")
    content = (folder / PROVENANCE) if is_file(folder / PROVENANCE) else None
    known = folder_source(real_path(folder).name, content)
    images = [(printable(path.relative_to(folder).as_posix()), path) for path in paths]
    return images, [(printable(path.name)[:MAX_TEXT], why) for path, why in refused], known


def folder_source(name: str, provenance: Path | None) -> dict[str, Any]:
    """What a set of scores says about the folder of its images.

    Parameters
    ----------
    name : str
        Name of the folder.
    provenance : Path | None
        The record that image generation left there, if there is one.

    Returns
    -------
    dict
        Plain JSON values.
    """
    known: dict[str, Any] = {"kind": "folder", "folder": printable(name)}
    if provenance is not None:
        try:
            known["provenance"] = _provenance(provenance)
        except ScoreError as error:  # it is only for information, so a bad one is only reported
            known["provenance_error"] = str(error)[:MAX_TEXT]
    return known


def _provenance(path: Path) -> dict[str, Any]:
    """What came with the pictures, if files of scores and reports that contain it can be read."""
    found = read_json(path, error=ScoreError, max_bytes=_PROVENANCE_BYTES, name=path.name)
    if not isinstance(found, dict):
        raise ScoreError(
            f"{path.name} is not a JSON object; expected the file that 'siren-ext generate' wrote."
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


def _labelled(
    named: Iterable[tuple[str, Path | Tensor]],
) -> Iterator[tuple[str, Path | Tensor]]:
    """The images with a name for each."""
    for index, (name, image) in enumerate(named):
        yield name or (f"tensor {index}" if isinstance(image, Tensor) else str(index)), image


def _stream(
    named: Iterable[tuple[str, Path | Tensor]], size: int, options: _Options
) -> Generator[Prepared, None, None]:
    """Prepared images in order; a few are prepared ahead of their use."""
    pool = ThreadPoolExecutor(max(1, options.workers))
    waiting: deque[Future[Prepared]] = deque()
    try:
        for label, image in named:
            waiting.append(pool.submit(prepare_image, label[:MAX_TEXT], image, size))
            if len(waiting) > options.batch_size + options.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(options: _Options, coater: Coater, fingerprint: str) -> dict[str, ImageScore]:
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
        digest: ImageScore(float(score), row, control)
        for digest, score, row, control in zip(
            kept.hashes, kept.scores, rows, controls, strict=True
        )
        if digest
    }


def _batches(
    named: Iterable[tuple[str, Path | Tensor]],
    coater: Coater,
    options: _Options,
    reusable: Mapping[str, ImageScore],
) -> Generator[Scored, None, None]:
    """Images in order, each with its score, or with None if it can't be read."""
    ranks, named = current(), _labelled(named)
    if ranks.size > 1:
        work = list(named)
        parts = [
            work[at : at + options.batch_size] for at in range(0, len(work), options.batch_size)
        ]
        for _, found in ranks.shared(parts, lambda part: _read(part, coater, options, reusable)):
            yield found
        return
    stream = _stream(named, coater.config.working_size, options)
    batch: list[Prepared] = []
    try:
        for item in stream:
            if item.view is None:
                yield [(item, None)]
                continue
            batch.append(item)
            if len(batch) == options.batch_size:
                yield scored(batch, coater, reusable)
                batch = []
        if batch:
            yield scored(batch, coater, reusable)
    finally:
        stream.close()


def _read(
    named: Iterable[tuple[str, Path | Tensor]],
    coater: Coater,
    options: _Options,
    reusable: Mapping[str, ImageScore],
) -> Scored:
    """One of several processes' batch, without the views, which the others don't need."""
    items = list(_stream(named, coater.config.working_size, options))
    values = iter(scored([item for item in items if item.view is not None], coater, reusable))
    return [
        (item, None) if item.view is None else (replace(item, view=None), next(values)[1])
        for item in items
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
    done: list[tuple[str, str, tuple[float, ...], str, ImageScore]] = []
    failures: list[tuple[str, str]] = list(lost)
    ranks = current()
    ranks.wait()  # before the main process writes what the others read

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
        if options.partial is not None and done and ranks.main:
            result().save(options.partial)
            next_save = time.monotonic() + _SAVE_SECONDS

    progress.stage("Scoring images", total)
    batches = _batches(named, coater, options, reusable)
    try:
        for batch in batches:
            for item, value in batch:
                if value is None:
                    failures.append((item.name, item.error))
                    progress.advance(note=f"skipped {item.name}")
                elif value.finite():
                    done.append((item.name, item.sha256, item.looks, item.phash, value))
                else:
                    failures.append((item.name, NOT_FINITE))
            if time.monotonic() > next_save and any(
                value is not None and item.sha256 not in reusable for item, value in batch
            ):
                keep()
            if count := sum(value is not None for _, value in batch):
                progress.advance(count)
    except BaseException:  # a stop or a failure
        keep()
        raise
    finally:
        batches.close()
    if not done:
        raise nothing_scored(failures)
    if options.partial is not None and ranks.main:
        options.partial.unlink(missing_ok=True)
    return result()


def nothing_scored(failures: Sequence[tuple[str, str]]) -> ScoreError:
    """The error of a run without a single score.

    Parameters
    ----------
    failures : sequence of (str, str)
        Name of each image, and why it has no score.
    """
    first = f" The first error: {failures[0][1]}" if failures else ""
    return ScoreError(f"None of {len(failures)} images could be scored.{first}")
