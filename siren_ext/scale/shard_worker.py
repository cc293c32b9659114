"""A worker that coats shards: each is read in order and written anew under the same name."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from siren_ext.coating.formats import target_of
from siren_ext.coating.manifest import CoatEntry
from siren_ext.coating.outputs import RENAMED
from siren_ext.coating.plan import MAX_BATCH_PIXELS, CoatJob
from siren_ext.data.dataset import Item
from siren_ext.data.images import picture_size
from siren_ext.errors import ImageError, SirenError, reason_of
from siren_ext.files import no_more_files, sha256_file
from siren_ext.scale.coat_worker import CoatingWorker, CoatSetup
from siren_ext.scale.places import Place, copy_name
from siren_ext.scale.shards import Sample, ShardImage, Writer, open_shard
from siren_ext.scale.worker import Outcome, Step, failure_of
from siren_ext.text import printable

MOST_SAMPLES = 256
"""Samples that are held at once, for shards with few images."""


@dataclass(frozen=True)
class ShardSetup(CoatSetup):
    """What such a worker needs besides.

    Attributes
    ----------
    source, target : str
        URLs of the two places.
    column : str
        The column of images of Parquet files; "" finds it.
    batch_size : int
        Most images that are coated at once.
    """

    source: str = ""
    target: str = ""
    column: str = ""
    batch_size: int = 8

    def open(self) -> ShardWorker:
        """The worker, in its process."""
        return ShardWorker(self)


@dataclass(frozen=True)
class ShardDone:
    """What was done with a shard that is written.

    Attributes
    ----------
    size : int
        Bytes of the new shard.
    entries : tuple[CoatEntry, ...]
        Its images. Their names are the shard's with the image's below it.
    failures : tuple[tuple[str, str], ...]
        What was left out, and why.
    copied : tuple[str, ...]
        Pictures that were copied, because they are about an image.
    """

    size: int
    entries: tuple[CoatEntry, ...]
    failures: tuple[tuple[str, str], ...]
    copied: tuple[str, ...]


@dataclass(frozen=True)
class _Job:
    """One image to coat: of which sample of the group, its new name there and in the records."""

    sample: int
    image: ShardImage
    new: str
    output: str
    notes: tuple[str, ...]
    job: CoatJob


@dataclass
class _Found:
    """What is done with a shard so far."""

    entries: list[CoatEntry] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)

    def done(self, size: int) -> ShardDone:
        """What is reported of a whole shard of so many bytes."""
        return ShardDone(size, tuple(self.entries), tuple(self.failures), tuple(self.copied))


@dataclass
class _Group:
    """Some samples that are coated together."""

    folder: Path
    samples: list[Sample] = field(default_factory=list)
    jobs: list[_Job] = field(default_factory=list)
    copied: dict[int, list[str]] = field(default_factory=dict)
    failures: dict[int, tuple[str, str]] = field(default_factory=dict)
    pixels: int = 0


class ShardWorker:
    """Coats one shard after the other, in bounded memory.

    Parameters
    ----------
    setup : ShardSetup
        What it needs.

    Raises
    ------
    SirenError
        As :class:`~siren_ext.scale.coat_worker.CoatingWorker`, or a place can't be used.
    """

    def __init__(self, setup: ShardSetup) -> None:
        self._setup, self._inner = setup, CoatingWorker(setup)
        self._from, self._to = Place(setup.source), Place(setup.target)

    def work(self, names: Sequence[str]) -> Iterator[tuple[int, Outcome]]:
        """Coat shards.

        Parameters
        ----------
        names : Sequence[str]
            Their names in the source place; they get the same ones.

        Yields
        ------
        tuple[int, Step | ShardDone | Failure]
            Index of a shard, and a step for each image of it, at last what was done. A shard that
            is damaged is not written at all.
        """
        for index, name in enumerate(names):
            found = _Found()
            try:
                with self._to.writing(name) as path:
                    for note in self._coat(name, path, found):
                        yield index, Step(note)
                    size = path.stat().st_size
            except (SirenError, OSError) as error:
                yield index, failure_of(error)
            else:
                yield index, found.done(size)

    def _coat(self, name: str, out: Path, found: _Found) -> Iterator[str]:
        """Coat a shard; yields the names of its images."""
        shown, most = printable(name), self._setup.batch_size
        with (
            tempfile.TemporaryDirectory(prefix="siren-") as folder,
            self._from.reading(name) as path,
            open_shard(path, shown, self._setup.column) as shard,
            closing(shard.writer(out)) as writer,
        ):
            group = _Group(Path(folder, "0"))
            for sample in shard.samples(most):
                found.failures += [(f"{shown}/{name}", why) for name, why in sample.refused]
                self._take(sample, shown, group)
                full = len(group.jobs) >= most or group.pixels >= MAX_BATCH_PIXELS
                if full or len(group.samples) >= MOST_SAMPLES:
                    yield from self._finish(group, writer, found)
                    group = _Group(Path(folder, "0"))
            yield from self._finish(group, writer, found)

    def _take(self, sample: Sample, shown: str, group: _Group) -> None:
        """Add a sample to a group: write the files of its images, and look at them."""
        number = len(group.samples)
        group.samples.append(sample)
        taken = {name.casefold() for name in sample.names}
        for place, image in enumerate(sample.images):
            name = f"{shown}/{printable(image.name)}"
            if not image.belongs:
                group.copied.setdefault(number, []).append(name)
                continue
            path = group.folder / f"{number}-{place}" / copy_name(image.name)
            path.parent.mkdir(parents=True)
            try:
                sample.save(image, path)
                size, digest = picture_size(path), sha256_file(path)
                target = target_of(path, self._setup.config)
            except (ImageError, OSError) as error:
                if no_more_files(error):
                    raise
                group.failures[number] = name, printable(reason_of(error))
                continue
            new, renamed = _new_name(image.name, target.suffix, taken)
            output = f"{shown}/{printable(new)}"
            item = Item(path, None, PurePosixPath(name))
            # the file gets a name that any file system takes
            job = CoatJob(item, f"{number}-{place}{target.suffix}", digest, size, target, True)
            notes = (RENAMED,) if renamed else ()
            group.jobs.append(_Job(number, image, new, output, notes, job))
            group.pixels += size[0] * size[1]

    def _finish(self, group: _Group, writer: Writer, found: _Found) -> Iterator[str]:
        """Coat the images of a group and write its samples; yields the names of the images."""
        done: dict[int, list[tuple[_Job, CoatEntry]]] = {}
        out = group.folder / "out"
        for index, outcome in self._inner.work([one.job for one in group.jobs], out):
            one = group.jobs[index]
            if isinstance(outcome, CoatEntry):
                done.setdefault(one.sample, []).append((one, outcome))
            elif outcome.full:
                raise OSError(errno.ENOSPC, outcome.error)
            else:
                group.failures.setdefault(one.sample, (one.job.item.name, outcome.error))
            yield one.job.item.name
        for number, sample in enumerate(group.samples):
            if number in group.failures:
                # without its image a sample is of no use, and its image must not be published
                found.failures.append(group.failures[number])
                continue
            pairs = sorted(done.get(number, []), key=lambda pair: group.jobs.index(pair[0]))
            files = {one.image.name: (one.new, out / one.job.output) for one, _ in pairs}
            writer.add(sample, files)
            for one, entry in pairs:
                own = tuple(note for note in entry.notes if note != RENAMED)
                found.entries.append(replace(entry, output=one.output, notes=(*one.notes, *own)))
            found.copied += group.copied.get(number, [])
        shutil.rmtree(group.folder, ignore_errors=True)


def _new_name(name: str, suffix: str, taken: set[str]) -> tuple[str, bool]:
    """The name of a coated image, and whether it is not the usual one because that is taken.

    The key, which is all up to the first dot, stays the same.
    """
    old = PurePosixPath(name).suffix
    if old.lower() == suffix.lower():
        return name, False
    usual = f"{name[: -len(old)] if old else name}{suffix}"
    new = usual if usual.casefold() not in taken else f"{name}{suffix}"
    taken.add(new.casefold())
    return new, new != usual
