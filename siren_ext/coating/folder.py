"""Coat a folder of images: add the residual, round to 8 bits, write, score what was written.

Follows the paper's release stage; the image is clamped and rounded before it is scored, so that
the recorded score is that of the file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from siren_ext.coating.apply import add_coating, message_of
from siren_ext.coating.manifest import (
    MANIFEST_NAME,
    CoatConfig,
    CoatEntry,
    CoatFailure,
    CoatJournal,
    CoatManifest,
)
from siren_ext.coating.outputs import (
    DATASET_TOML,
    caption_names,
    output_names,
    refuse_overlap,
    write_captions,
    write_toml,
)
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.decode import Bytes
from siren_ext.data.images import (
    Picture,
    picture_size,
    read_picture,
    to_tensor,
    to_uint8,
    write_picture,
)
from siren_ext.errors import (
    Cancelled,
    CoaterError,
    ConfigError,
    DatasetError,
    ImageError,
    SirenError,
)
from siren_ext.files import sha256_file
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

__all__ = [
    "MANIFEST_NAME",
    "CoatConfig",
    "CoatEntry",
    "CoatFailure",
    "CoatManifest",
    "coat_folder",
]

# Bounds the memory of a batch: 8 megapixels are 96 MB per float copy, and some four are needed.
MAX_BATCH_PIXELS = 8_000_000


@dataclasses.dataclass(frozen=True)
class _Job:
    item: Item
    output: str
    sha256: str
    size: tuple[int, int]
    coated: bool


@dataclasses.dataclass(frozen=True)
class _Result:
    """What the network gives for one image."""

    rgb: Bytes
    clean_score: float
    coated_score: float | None


def coat_folder(
    data: ImageSet,
    coater: Coater,
    out: Path,
    config: CoatConfig | None = None,
    *,
    key: CoatingKey | None = None,
    batch_size: int = 8,
    workers: int = 2,
    progress: Progress = NULL,
) -> CoatManifest:
    """Write a coated PNG of every image of ``data`` into ``out``, captions along with it.

    Name stem, size, transparency, EXIF and RGB colour profile are kept. A second call goes on
    where the first stopped and redoes nothing whose source, coater and settings are unchanged.
    After a stop everything finished is in place.

    Parameters
    ----------
    data : ImageSet
        the images.
    coater : Coater
        adds the residual and scores.
    out : Path
        folder to write to; neither inside the data folder nor around it.
    config : CoatConfig | None
        strength, share and layout.
    key : CoatingKey | None
        holds the message that a keyed coater writes into every image; of it the manifest has
        the salted fingerprint alone.
    batch_size : int
        images of equal size that pass the network at once.
    workers : int
        threads that decode and encode.
    progress : Progress
        told of every image.

    Returns
    -------
    CoatManifest
        The manifest, also written to ``out/siren_manifest.json``; unreadable images are in its
        ``failures``.

    Raises
    ------
    DatasetError
        ``out`` overlaps the data or holds files that no earlier run wrote.
    CoaterError
        the coater is keyed and there is no key for it, or it takes none.
    Cancelled
        the user stopped the run.
    """
    config = config or CoatConfig()
    out = Path(out)
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more.")
    refuse_overlap(data.root, out)
    _check_key(coater, key)
    journal = CoatJournal(out, coater.fingerprint, config, "" if key is None else key.fingerprint())
    run = _Run(data, coater, out, config, journal, progress, message_of(key))
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        jobs = run.plan(pool)
        run.coat(jobs, pool, batch_size)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        manifest = run.close()
    return manifest


def _check_key(coater: Coater, key: CoatingKey | None) -> None:
    """Raise :class:`CoaterError` unless the key fits, before anything is written."""
    needed = int(getattr(getattr(coater, "config", None), "message_bits", 0))
    found = 0 if key is None else key.bits
    if found != needed:
        told = f"a key of {found} bits" if found else "no key"
        wanted = f"a key of {needed} bits" if needed else "no key: this coater is not keyed"
        raise CoaterError(f"Found {told}; expected {wanted}.")


class _Run:
    """The state of one call of :func:`coat_folder`."""

    def __init__(
        self,
        data: ImageSet,
        coater: Coater,
        out: Path,
        config: CoatConfig,
        journal: CoatJournal,
        progress: Progress,
        message: Tensor | None,
    ) -> None:
        self.message = message
        self.data, self.coater, self.out, self.config = data, coater, out, config
        self.journal, self.progress = journal, progress
        self.failures = dict(data.problems)
        self.begun = self.complete = False

    def plan(self, pool: ThreadPoolExecutor) -> list[_Job]:
        """Hash and measure the sources, choose which are coated, drop what is done already."""
        items, config = self.data.items, self.config
        self.progress.stage("Checking images", len(items))
        # Exactly round(share * n) needs to know beforehand which images can be decoded.
        thorough = 0 < config.share < 1
        facts: list[tuple[Item, str, str, tuple[int, int]]] = []
        found = pool.map(lambda item: _inspect(item, thorough), items)
        for item, output, fact in zip(
            items, output_names(self.data, config.layout), found, strict=True
        ):
            if isinstance(fact, str):
                self.failures[item.name] = fact
            else:
                facts.append((item, output, *fact))
            self.progress.advance(1, item.name)
        count = round(config.share * len(facts))
        order = np.random.default_rng(config.seed).permutation(len(facts))
        chosen = set(order[:count].tolist())
        jobs = [_Job(*fact, coated=i in chosen) for i, fact in enumerate(facts)]
        kept = dict(zip(jobs, pool.map(self._kept, jobs), strict=True))
        outputs = {name for job in jobs for name in self._files(job)}
        if config.layout == "kohya":
            outputs.add(DATASET_TOML)
        self.journal.begin(outputs, [entry for entry in kept.values() if entry is not None])
        self.begun = True
        for job in jobs:
            if kept[job] is not None:  # a caption may have changed since
                try:
                    write_captions(job.item, job.output, self.out, config.layout)
                except ImageError as error:
                    self.failures[job.item.name] = str(error)
        return [job for job, entry in kept.items() if entry is None]

    def _files(self, job: _Job) -> list[str]:
        return [job.output, *caption_names(job.item, job.output, self.config.layout)]

    def _kept(self, job: _Job) -> CoatEntry | None:
        """The earlier entry of this very work, if its file is still as it was written."""
        entry = self.journal.known(job.item.name)
        if entry is None or (entry.source_sha256, entry.output, entry.coated) != (
            job.sha256,
            job.output,
            job.coated,
        ):
            return None
        path = self.out / job.output
        same = path.is_file() and sha256_file(path) == entry.output_sha256
        return entry if same else None

    def coat(self, jobs: Sequence[_Job], pool: ThreadPoolExecutor, batch_size: int) -> None:
        """Decode ahead and encode behind in threads, with the network between them here."""
        self.progress.stage(
            "Coating", len(jobs) + len(self.journal.entries), len(self.journal.entries)
        )
        batches = list(_batches(jobs, batch_size))
        reads = [pool.submit(_attempt_read, job) for job in batches[0]] if batches else []
        writes: list[tuple[_Job, Future[None]]] = []
        try:
            for number, batch in enumerate(batches):
                pictures = [future.result() for future in reads]
                following = batches[number + 1] if number + 1 < len(batches) else []
                reads = [pool.submit(_attempt_read, job) for job in following]
                ready = list(self._through_network(batch, pictures))
                fresh = [(done[0], pool.submit(self._write, *done)) for done in ready]
                earlier, writes = writes, writes + fresh
                self._collect(earlier)
                writes = fresh
            self._collect(writes)
            self.complete = True
        finally:
            for _, future in writes:
                future.exception()  # waits: what passed the network is still written

    def _collect(self, writes: Iterable[tuple[_Job, Future[None]]]) -> None:
        for job, future in writes:
            try:
                future.result()
            except DatasetError:  # the output folder itself is unusable
                raise
            except (SirenError, OSError) as error:
                self._fail(job, error)
            else:
                self.progress.advance(1, job.item.name)

    def _fail(self, job: _Job, error: BaseException | str) -> None:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self.failures[job.item.name] = printable(why)
        self.progress.advance(1, f"{job.item.name} skipped")

    def _through_network(
        self, batch: Sequence[_Job], pictures: Sequence[Picture | SirenError]
    ) -> Iterator[tuple[_Job, Picture, _Result]]:
        """Coat and score what could be decoded, images of equal shape together."""
        groups: dict[tuple[int, int], list[tuple[_Job, Picture]]] = {}
        for job, picture in zip(batch, pictures, strict=True):
            if isinstance(picture, SirenError):
                self._fail(job, picture)
            else:
                groups.setdefault(picture.size, []).append((job, picture))
        for group in groups.values():
            images = to_tensor(group[0][1].rgb)
            if len(group) > 1:
                images = torch.cat([to_tensor(picture.rgb) for _, picture in group])
            # The coated flag is the same for a whole batch.
            strength = self.config.strength if batch[0].coated else None
            for (job, picture), result in zip(
                group, _apply(self.coater, images, strength, self.message), strict=True
            ):
                if isinstance(result, str):
                    self._fail(job, result)
                else:
                    yield job, picture, result

    def _write(self, job: _Job, picture: Picture, result: _Result) -> None:
        """In a thread: write the image, then record it."""
        path = self.out / job.output
        write_captions(job.item, job.output, self.out, self.config.layout)
        write_picture(dataclasses.replace(picture, rgb=result.rgb), path)
        self.journal.add(
            CoatEntry(
                source=job.item.name,
                output=job.output,
                source_sha256=job.sha256,
                output_sha256=sha256_file(path),
                coated=job.coated,
                psnr_db=_psnr(picture.rgb, result.rgb),
                clean_score=result.clean_score,
                coated_score=result.coated_score,
                size=picture.size,
                notes=picture.notes,
            )
        )

    def close(self) -> CoatManifest:
        """Write dataset.toml and the manifest for what is in place."""
        failures = [CoatFailure(name, why) for name, why in self.failures.items()]
        if not self.begun:  # stopped before anything was touched: leave the earlier records
            made = (self.journal.coater, self.config)
            return CoatManifest(*made, (), tuple(failures), (), False, self.journal.key)
        order = [item.name for item in self.data.items]
        if self.config.layout == "kohya":
            sizes = {name: entry.size for name, entry in self.journal.entries.items()}
            write_toml(self.data, sizes, self.out)
        return self.journal.finish(order, failures, complete=self.complete)


def _inspect(item: Item, thorough: bool) -> tuple[str, tuple[int, int]] | str:
    """Hash and size of a source, or why it can't be used."""
    try:
        size = read_picture(item.path).size if thorough else picture_size(item.path)
        return sha256_file(item.path), size
    except SirenError as error:
        return str(error)
    except OSError as error:
        return f"can't be read: {error.strerror}."


def _attempt_read(job: _Job) -> Picture | SirenError:
    try:
        return read_picture(job.item.path)
    except SirenError as error:
        return error


def _batches(jobs: Sequence[_Job], batch_size: int) -> Iterator[list[_Job]]:
    """Jobs of equal size and equal treatment together, bounded in number and pixels."""
    batch: list[_Job] = []
    for job in sorted(jobs, key=lambda job: (job.size, job.coated)):
        limit = min(batch_size, max(1, MAX_BATCH_PIXELS // max(1, math.prod(job.size))))
        fits = batch and (batch[0].size, batch[0].coated) == (job.size, job.coated)
        if batch and (not fits or len(batch) >= limit):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


@torch.no_grad()
def _apply(
    coater: Coater, images: Tensor, strength: float | None, message: Tensor | None
) -> list[_Result | str]:
    """Coat (unless ``strength`` is None) and score B3HW images; a text tells why one failed."""
    try:
        images = images.to(coater.device)
        clean = coater.score(images).double().cpu()
        if strength is None:
            return [_result(image, float(s), None) for image, s in zip(images, clean, strict=True)]
        coated, sane = add_coating(images, coater, strength=strength, message=message)
        scores = coater.score(coated).double().cpu()
        return [
            _result(image, float(before), float(after))
            if fine
            else "The coater gave values that are not finite numbers for this image."
            for image, before, after, fine in zip(coated, clean, scores, sane, strict=True)
        ]
    except Cancelled:
        raise
    except (SirenError, RuntimeError) as error:
        # Out of memory, or one image that the network can't take: find out which.
        if len(images) == 1:
            return [f"The coater can't handle this image: {error}"]
        return [
            result for image in images for result in _apply(coater, image[None], strength, message)
        ]


def _result(image: Tensor, clean: float, coated: float | None) -> _Result | str:
    if not math.isfinite(clean) or not math.isfinite(coated or 0.0):
        return "The coater's score of this image is not a finite number."
    return _Result(to_uint8(image), clean, coated)


def _psnr(before: Bytes, after: Bytes) -> float | None:
    """Peak signal-to-noise ratio in dB of 8-bit pixels; None when they are equal."""
    difference = (after.astype(np.int16) - before).ravel()
    total = float(np.einsum("i,i->", difference, difference, dtype=np.int64))
    return None if total == 0 else 10 * math.log10(255**2 * difference.size / total)
