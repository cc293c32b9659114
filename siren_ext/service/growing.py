"""An output folder that grows: images are coated as they come, each one once.

The files, the journal and the manifest are those of :func:`siren_ext.coating.folder.coat_folder`,
so that ``siren-ext coat`` and all later steps read them. Unlike there, an image keeps the name that
it got first, whatever comes later, and stays in the manifest when its source is removed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from siren_ext.coating.apply import check_key, message_of
from siren_ext.coating.entry import write_entry
from siren_ext.coating.formats import CompressionMeter
from siren_ext.coating.journal import JOURNAL_NAME, CoatJournal
from siren_ext.coating.manifest import (
    MANIFEST_NAME,
    CoatConfig,
    CoatEntry,
    CoatFailure,
    CoatManifest,
)
from siren_ext.coating.outputs import refuse_overlap, write_captions, write_mask
from siren_ext.coating.passes import coat_picture
from siren_ext.coating.plan import CoatJob, finished_entry, plan_jobs
from siren_ext.coating.twin_patterns import refuse_other_twins
from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import read_picture
from siren_ext.errors import ConfigError, DatasetError, SirenError, reason_of
from siren_ext.files import is_file, is_folder, no_more_files, sha256_if_any
from siren_ext.progress import NULL
from siren_ext.text import folded, natural_key, printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey


class FullDiskError(DatasetError):
    """The output folder can't take more files; it can be continued once there is room."""


class GrowingFolder:
    """Coats images into a folder, a few at a time.

    Parameters
    ----------
    root : Path
        The folder that the images come from.
    coater : Coater
        Adds the residual and scores.
    out : Path
        The output folder, which the caller has locked (:func:`siren_ext.files.locked`).
    config : CoatConfig
        Strength and file format.
    key : CoatingKey | None
        The key whose message a keyed coater writes.

    Raises
    ------
    ConfigError
        ``share`` is not 1, or the layout has tables, which need the whole set.
    DatasetError
        ``out`` overlaps the folder, is no folder, its records are damaged, it has files but no
        records of an earlier run, or copies of other images, of twins or with another key.
    CoaterError
        The key does not fit the coater.
    """

    def __init__(
        self,
        root: Path,
        coater: Coater,
        out: Path,
        config: CoatConfig,
        key: CoatingKey | None = None,
    ) -> None:
        if config.share != 1:
            raise ConfigError(
                f"share is {config.share:g}; expected 1, because a share can't be chosen while "
                "images arrive one by one. Use 'siren-ext coat' for a share."
            )
        if config.layout not in ("plain", "same"):
            raise ConfigError(
                f"layout is {config.layout!r}; expected 'plain', because other layouts need the "
                "whole set. Use 'siren-ext coat' for them."
            )
        refuse_overlap(root, out)
        check_key(coater, key)
        refuse_other_twins(out, None)
        self.root, self.out, self.config, self._coater = root, out, config, coater
        self._message = message_of(key)
        self._meter = CompressionMeter(coater, self._message)
        mark = "" if key is None else key.fingerprint()
        self._journal = CoatJournal(out, coater.fingerprint, config, mark)
        self._pool = ThreadPoolExecutor(max_workers=1)  # starts its thread with the first image
        self.failures: dict[str, str] = {}
        records = (out / MANIFEST_NAME, out / JOURNAL_NAME)
        if is_folder(out) and any(out.iterdir()) and not any(one.exists() for one in records):
            raise DatasetError(
                f"{out} has files that no earlier run wrote; expected an empty folder or the "
                "folder of an earlier run. Choose another folder."
            )
        self._journal.refuse_other_key()
        self._refuse_other_images()
        recalled = [one for one in self._journal.recalled if is_file(out / one.output)]
        self._names = {_stem(entry.output): entry.source for entry in recalled}
        self._journal.begin([entry.output for entry in recalled], recalled)

    @property
    def count(self) -> int:
        """Number of images that are recorded."""
        return len(self._journal.entries)

    def _refuse_other_images(self) -> None:
        """Refuse a folder whose copies have the names of these images and are of none of them.

        Images that were changed since are expected to differ, and are coated again.
        """
        if not self._journal.written:
            return
        try:
            items = ImageSet.from_folder(self.root).items
        except DatasetError:  # no image yet
            return
        there = {_stem(name) for name in self._journal.written}
        kept = {_stem(one.output): one.source for one in self._journal.recalled}
        same = [
            one
            for one in items
            if (stem := _stem(one.relative.as_posix())) in there
            and kept.get(stem, one.name) == one.name  # otherwise it gets a name of its own
        ]
        since = max(
            one.stat().st_mtime
            for one in (self.out / MANIFEST_NAME, self.out / JOURNAL_NAME)
            if is_file(one)
        )
        if any(_changed(one) <= since for one in same):  # later ones are changed or new
            self._journal.refuse_other_images(sha256_if_any(one.path) for one in same)

    def add(self, item: Item) -> CoatEntry | None:
        """Coat an image if it is new or has changed.

        Parameters
        ----------
        item : Item
            The image. If it is coated already, it gets its caption and mask again, if changed.

        Returns
        -------
        CoatEntry | None
            What was written; None if it was coated before, or can't be coated: the reason is then
            in :attr:`failures`.

        Raises
        ------
        FullDiskError
            There is no room for more files; everything before is recorded.
        DatasetError
            The output folder can't be written for another reason.
        """
        self.failures.pop(item.name, None)
        alone = ImageSet((item,), self.root, self.root.name)
        jobs, failures = plan_jobs(alone, self.config, self._pool, NULL)
        self.failures |= failures
        try:
            return self._coat(self._named(jobs[0])) if jobs else None
        except (SirenError, OSError) as error:
            self._failed(item, error)
            return None

    def _failed(self, item: Item, error: SirenError | OSError) -> None:
        """Remember why an image was not coated; raises if no other image could be either."""
        if full := no_more_files(error):
            raise self._full(full) from error
        if isinstance(error, DatasetError) and error.__cause__ is not None:
            raise error  # the journal can't be written
        self.failures[item.name] = printable(reason_of(error))

    def _named(self, job: CoatJob) -> CoatJob:
        """The job with the name that its image has already, or with a free one."""
        known = self._journal.known(job.item.name)
        if known is not None and PurePosixPath(known.output).suffix == job.target.suffix:
            return dataclasses.replace(job, output=known.output)
        wanted = PurePosixPath(job.output)
        first = typed = f"{wanted.stem}_{job.item.relative.suffix[1:].lower()}"
        stem, number = wanted.stem, 1
        while self._names.get(_stem((wanted.parent / stem).as_posix() + "."), job.item.name) != (
            job.item.name
        ):
            stem, number = typed, number + 1
            typed = f"{first}_{number}"
        return dataclasses.replace(
            job, output=(wanted.parent / f"{stem}{wanted.suffix}").as_posix()
        )

    def _coat(self, job: CoatJob) -> CoatEntry | None:
        """Coat one image; None if that was done before."""
        layout = self.config.layout
        self._journal.extend(job.files(layout))
        self._names[_stem(job.output)] = job.item.name
        if finished_entry(job, self._journal, self.out) is not None:
            write_captions(job.item, job.output, self.out, layout)
            write_mask(job.item, job.output, self.out, layout)
            return None
        picture = read_picture(job.item.path)
        result = coat_picture(self._coater, job, picture, self.config, self._message)
        entry = write_entry(job, picture, result, self.out, layout, self._meter)
        self._journal.add(entry)
        return entry

    def close(self) -> None:
        """End the thread that reads files."""
        self._pool.shutdown()

    def resume(self) -> None:
        """Write the journal anew, after it could not be written.

        Raises
        ------
        FullDiskError
            There is still no room.
        DatasetError
            It can't be written for another reason.
        """
        entries = list(self._journal.entries.values())
        with self._room():
            self._journal.begin([entry.output for entry in entries], entries)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Turn the error of a full disk into one of its own."""
        try:
            yield
        except DatasetError as error:
            if full := no_more_files(error):
                raise self._full(full) from error
            raise

    def _full(self, full: OSError) -> FullDiskError:
        return FullDiskError(
            f"{self.out} can't be written: {full.strerror}. {self.count} images are finished. "
            "Free some space."
        )

    def save(self, *, complete: bool, go_on: bool = False) -> CoatManifest:
        """Write the manifest of all images so far.

        Parameters
        ----------
        complete : bool
            Whether all images that are there were reached.
        go_on : bool
            Whether more images will be added.

        Returns
        -------
        CoatManifest
            What was done, also in ``siren_manifest.json``.

        Raises
        ------
        FullDiskError
            There is no room for it; the journal is kept.
        DatasetError
            It can't be written for another reason.
        """
        order = sorted(self._journal.entries, key=_in_folder)
        failures = [CoatFailure(name, why) for name, why in sorted(self.failures.items())]
        with self._room():
            manifest = self._journal.finish(order, failures, complete=complete)
        if go_on:
            self.resume()
        return manifest


def _changed(item: Item) -> float:
    """When an image was changed last, in seconds since 1970; 0 if it can't be looked up."""
    try:
        return item.path.stat().st_mtime
    except OSError:
        return 0.0


def _stem(output: str) -> str:
    """An output's name without its suffix, as file systems compare it."""
    return folded(output.rpartition(".")[0])


def _in_folder(name: str) -> list[object]:
    return [natural_key(part) for part in name.split("/")]
