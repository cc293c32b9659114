"""Scores of images: the one currency that tests, verdicts and reports deal in."""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.errors import ImageError, ScoreError
from siren_ext.files import sha256_file, write_json
from siren_ext.images import list_images, read_picture, square_view, to_tensor
from siren_ext.listing import printable
from siren_ext.progress import NULL, Progress

if TYPE_CHECKING:
    from siren_ext.coater import Coater

FORMAT = "siren_ext.scores"
FORMAT_VERSION = 1
PROVENANCE = "provenance.json"
MAX_BYTES = 64 << 20
MAX_IMAGES = 1_000_000
MAX_TEXT = 4096
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class ScoreSet:
    """Scores of one pool of images, with what is needed to check and repeat them.

    Attributes:
        scores: (n,) float64, finite; small means coated.
        names: n names, unique where they come from one folder.
        hashes: n SHA-256 of the files' bytes; "" where there was no file.
        coater: fingerprint of the coater that scored.
        source: how the images were made (plain JSON values): kind, prompts, seeds, settings.
        failures: (name, what went wrong) of the images that have no score.

    Raises :class:`ScoreError` when the parts contradict each other.
    """

    scores: NDArray[np.float64]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    coater: str
    source: dict[str, Any] = field(default_factory=dict)
    failures: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        values = np.array(self.scores, dtype=np.float64)
        if values.ndim != 1 or not len(values) == len(self.names) == len(self.hashes):
            raise ScoreError(
                f"A score set has {values.shape} scores, {len(self.names)} names and "
                f"{len(self.hashes)} hashes; expected as many of each."
            )
        if not np.isfinite(values).all():
            bad = self.names[int(np.argmin(np.isfinite(values)))]
            raise ScoreError(
                f"The score of {printable(bad)} is not a finite number; score the image again."
            )
        values.flags.writeable = False
        object.__setattr__(self, "scores", values)

    def __len__(self) -> int:
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored by :meth:`save`."""
        images = [
            {"name": name, "sha256": digest, "score": float(score)}
            for name, digest, score in zip(self.names, self.hashes, self.scores, strict=True)
        ]
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "coater": self.coater,
            "source": self.source,
            "images": images,
            "failures": [{"name": name, "error": error} for name, error in self.failures],
        }

    def save(self, path: Path) -> None:
        """Write the set as JSON, atomically; scores survive the round trip bit for bit."""
        write_json(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> ScoreSet:
        """Read a set; raises :class:`ScoreError` unless the file is whole and sane."""
        path = Path(path)
        return cls.from_dict(read_json(path), name=printable(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "The score set") -> ScoreSet:
        """Check and take over what :meth:`to_dict` gave; ``name`` is used in messages."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ScoreError(f"{name} is not a score file; make one with 'siren-ext score'.")
        if data.get("version") != FORMAT_VERSION:
            raise ScoreError(
                f"{name} has version {printable(data.get('version'))[:40]}; this program reads "
                f"version {FORMAT_VERSION}. Score the images again."
            )
        images, failures = data.get("images"), data.get("failures", [])
        source = data.get("source", {})
        if not (isinstance(images, list) and isinstance(failures, list)) or not images:
            raise ScoreError(f"{name} holds no list of scored images; score the images again.")
        if not isinstance(source, dict):
            raise ScoreError(f"{name}: 'source' is not an object; score the images again.")
        if len(images) + len(failures) > MAX_IMAGES:
            raise ScoreError(f"{name} holds {len(images)} images; at most {MAX_IMAGES:,} are read.")
        coater = _text(data, "coater", name)
        rows = [_row(entry, f"{name}, image {i}") for i, entry in enumerate(images)]
        lost = tuple(
            (_text(entry, "name", f"{name}, failure {i}"), _text(entry, "error", name))
            for i, entry in enumerate(failures)
        )
        names, hashes, scores = zip(*rows, strict=True)
        return cls(np.array(scores), names, hashes, coater, source, lost)

    @classmethod
    def concat(cls, sets: Sequence[ScoreSet]) -> ScoreSet:
        """Several sets as one; they must come from the same coater."""
        if not sets:
            raise ScoreError("Nothing to join: expected at least one score set.")
        for other in sets:
            require_same_coater(sets[0], other)
        return cls(
            np.concatenate([part.scores for part in sets]),
            tuple(name for part in sets for name in part.names),
            tuple(digest for part in sets for digest in part.hashes),
            sets[0].coater,
            {"kind": "joined", "parts": [part.source for part in sets]},
            tuple(failure for part in sets for failure in part.failures),
        )


def require_same_coater(first: ScoreSet, second: ScoreSet) -> None:
    """Raise :class:`ScoreError` unless both sets were scored by the same coater."""
    if first.coater != second.coater:
        raise ScoreError(
            f"The scores come from different coaters ({printable(first.coater)[:12]} and "
            f"{printable(second.coater)[:12]}) and can't be compared; score both pools with the "
            "coater that was released."
        )


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
    """Score image files or tensors (3 x H x W or 1 x 3 x H x W in [0,1]), of any sizes, in order.

    A file that can't be read goes to ``failures`` by name and the rest goes on.

    Args:
        images: paths (named by their file name) and tensors (named ``tensor 0``, ``tensor 1`` ...).
        coater: scores do not depend on how images are batched.
        batch_size: images scored at once.
        workers: threads that decode and shrink files ahead of the coater.
        source: how the images were made, plain JSON values; stored along.
        partial: a file that keeps finished scores, so that a stopped run goes on from there; it is
            removed at the end.
        progress: told of every image; may stop the run.

    Raises:
        ScoreError: no image at all could be scored.
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
    """Score the images of a folder, see :func:`score_images`.

    A ``provenance.json`` that image generation left there is read into ``source["provenance"]``.
    Raises :class:`ScoreError` when there is nothing to score.
    """
    folder = Path(folder)
    try:
        paths = list_images(folder)
    except ImageError as error:
        raise ScoreError(str(error)) from error
    if not paths:
        raise ScoreError(f"{printable(folder)} holds no images; expected a folder of them.")
    known: dict[str, Any] = {"kind": "folder", "folder": printable(folder.resolve().name)}
    if (folder / PROVENANCE).is_file():
        try:
            known["provenance"] = read_json(folder / PROVENANCE)
        except ScoreError as error:  # it only serves comparison: its loss is told, not fatal
            known["provenance_error"] = str(error)
    named = ((printable(path.relative_to(folder).as_posix()), path) for path in paths)
    options = _Options(batch_size, workers, partial, progress)
    return _score(named, coater, len(paths), known | (source or {}), options)


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Strict JSON of limited size: no NaN, no infinity; raises :class:`ScoreError`."""
    name = printable(path)

    def refuse(word: str) -> Any:
        raise ScoreError(f"{name} holds {word}, which is not a finite number.")

    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ScoreError(f"{name} has {size:,} bytes; at most {max_bytes:,} are read.")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ScoreError(f"{name} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ScoreError(f"{name} is not valid JSON: {printable(error)[:200]}") from error


@dataclass(frozen=True)
class _Options:
    batch_size: int
    workers: int
    partial: Path | None
    progress: Progress


@dataclass(frozen=True)
class _Ready:
    """One image on its way: its view for the coater, or why there is none."""

    name: str
    sha256: str
    view: Tensor | None = None
    error: str = ""


def _text(entry: Any, key: str, name: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ScoreError(f"{name}: '{key}' is missing or not a text of at most {MAX_TEXT} letters.")
    return value


def _row(entry: Any, name: str) -> tuple[str, str, float]:
    digest = _text(entry, "sha256", name)
    if digest and not _HASH.fullmatch(digest):
        raise ScoreError(f"{name}: 'sha256' is not 64 hexadecimal digits.")
    score = entry.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or abs(score) > 1e30:
        raise ScoreError(f"{name}: 'score' is {printable(score)[:40]}; expected a finite number.")
    return _text(entry, "name", name), digest, float(score)


def _prepare(name: str, image: Path | Tensor, size: int) -> _Ready:
    if isinstance(image, Tensor):
        view = image.detach()[None] if image.ndim == 3 else image.detach()
        if view.ndim != 4 or view.shape[:2] != (1, 3):
            return _Ready(name, "", error=f"A tensor of shape {tuple(image.shape)} is no image.")
        return _Ready(name, "", square_view(view.float(), size))
    try:
        digest = sha256_file(image)
        view = to_tensor(read_picture(image).rgb)
    except (ImageError, OSError) as error:
        return _Ready(name, "", error=printable(error)[:MAX_TEXT])
    return _Ready(name, digest, square_view(view, size))


def _stream(
    named: Iterable[tuple[str, Path | Tensor]], size: int, options: _Options
) -> Generator[_Ready, None, None]:
    """Prepared images in order, a little ahead of their use."""
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


def _finished(options: _Options, fingerprint: str) -> dict[str, float]:
    """Scores by file hash that a stopped run left behind."""
    if options.partial is None or not options.partial.exists():
        return {}
    try:
        kept = ScoreSet.load(options.partial)
    except ScoreError:
        return {}  # half a remnant is worth less than a fresh start
    if kept.coater != fingerprint:
        return {}
    return {h: float(s) for h, s in zip(kept.hashes, kept.scores, strict=True) if h}


def _score(
    named: Iterable[tuple[str, Path | Tensor]],
    coater: Coater,
    total: int | None,
    source: dict[str, Any],
    options: _Options,
) -> ScoreSet:
    if options.batch_size < 1:
        raise ScoreError(f"batch_size is {options.batch_size}; expected at least 1.")
    fingerprint, progress = coater.fingerprint, options.progress
    reusable = _finished(options, fingerprint)
    done: list[tuple[str, str, float]] = []
    failures: list[tuple[str, str]] = []
    batch: list[_Ready] = []

    def result() -> ScoreSet:
        names, hashes, scores = zip(*done, strict=True) if done else ((), (), ())
        return ScoreSet(np.array(scores), names, hashes, fingerprint, source, tuple(failures))

    def flush() -> None:
        fresh = [item for item in batch if item.sha256 not in reusable]
        values: list[float] = []
        if fresh:
            views = torch.cat([item.view for item in fresh if item.view is not None])
            values = coater.score(views).double().cpu().tolist()
        computed = iter(values)
        for item in batch:
            known = reusable.get(item.sha256)
            value = next(computed) if known is None else known
            if math.isfinite(value):
                done.append((item.name, item.sha256, value))
            else:
                failures.append((item.name, "The coater gave a score that is not a number."))
        if fresh and options.partial is not None and done:
            result().save(options.partial)
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
    finally:
        stream.close()
    if not done:
        first = f" The first error: {failures[0][1]}" if failures else ""
        raise ScoreError(f"None of {len(failures)} images could be scored.{first}")
    if options.partial is not None:
        options.partial.unlink(missing_ok=True)
    return result()
