"""Coats a folder of images: adds the residual, rounds to 8 bits, writes, and scores the result.

This is the release stage of the paper (SIREN, arXiv 2410.10437). An image is clamped and rounded
before it is scored, so that the recorded score is that of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from siren_ext.coating.apply import check_key, message_of
from siren_ext.coating.entry import write_entry
from siren_ext.coating.formats import CompressionMeter
from siren_ext.coating.journal import CoatJournal
from siren_ext.coating.layouts import Written, table_names, write_tables
from siren_ext.coating.manifest import CoatConfig, CoatFailure, CoatManifest
from siren_ext.coating.outputs import refuse_overlap, write_captions, write_mask
from siren_ext.coating.passes import Result, coat_pictures
from siren_ext.coating.plan import CoatJob, batches, finished_entry, plan_jobs
from siren_ext.coating.twin_patterns import (
    TwinSide,
    marked_key,
    refuse_changed_twins,
    refuse_other_twins,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, read_picture
from siren_ext.errors import ConfigError, DatasetError, ImageError, SirenError, reason_of
from siren_ext.files import no_more_files, one_at_a_time
from siren_ext.progress import NULL, Progress
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey


@one_at_a_time
def coat_folder(
    data: ImageSet,
    coater: Coater,
    out: Path,
    config: CoatConfig | None = None,
    *,
    key: CoatingKey | None = None,
    side: TwinSide | None = None,
    batch_size: int = 8,
    workers: int = 2,
    progress: Progress = NULL,
) -> CoatManifest:
    """Write a coated copy of every image into a folder, along with the captions.

    Name, size, transparency, EXIF, IPTC fields, XMP, comments and RGB colour profile are kept; what
    can't be kept is in the notes of the manifest. A lossy file is scored as it was written, after
    compression. A call resumes an earlier one in the same folder: only images whose source, coater
    or settings have changed are coated again. After a stop, all finished images are in place.

    Parameters
    ----------
    data : ImageSet
        The images.
    coater : Coater
        Adds the residual and scores.
    out : Path
        Output folder; must not be, contain or be inside the data folder.
    config : CoatConfig | None
        Strength, share, layout and file format; None for the defaults.
    key : CoatingKey | None
        The key whose message a keyed coater writes into every image. The manifest stores only its
        salted fingerprint.
    side : TwinSide | None
        Which of two twins of every image is written; see :mod:`siren_ext.coating.twins`.
    batch_size : int
        Most images of equal size per pass of the network.
    workers : int
        Threads that decode and encode.
    progress : Progress
        Counts the images.

    Returns
    -------
    CoatManifest
        What was done, also written to ``out/siren_manifest.json``. Unreadable images are in its
        ``failures``.

    Raises
    ------
    DatasetError
        ``out`` overlaps the data folder, has files that no earlier run wrote or that one wrote from
        other images, was coated with another key or other twins, or can't be written.
    CoaterError
        The coater is keyed and there is no matching key, or it is not keyed and there is a key.
    ConfigError
        ``batch_size`` or ``workers`` is below 1.
    Cancelled
        The user stopped the run.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}; expected 1 or more.")
    run = open_run(
        data, coater, out, config, key=key, side=side, batch_size=batch_size, progress=progress
    )
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        jobs = run.plan(pool)
        run.coat(jobs, pool, batch_size)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        manifest = run.close()
    return manifest


def open_run(
    data: ImageSet,
    coater: Coater,
    out: Path,
    config: CoatConfig | None = None,
    *,
    key: CoatingKey | None = None,
    side: TwinSide | None = None,
    batch_size: int = 8,
    progress: Progress = NULL,
) -> FolderRun:
    """Check what a run is given, and read the records of earlier runs.

    Parameters
    ----------
    data, coater, out, config, key, side, batch_size, progress
        As in :func:`coat_folder`. The caller has locked ``out``, see :mod:`siren_ext.files`.

    Returns
    -------
    FolderRun
        Nothing is written yet.

    Raises
    ------
    DatasetError, CoaterError, ConfigError
        As in :func:`coat_folder`.
    """
    config, out = config or CoatConfig(), Path(out)
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; expected 1 or more.")
    refuse_overlap(data.root, out)
    check_key(coater, key)
    marks = marked_key("" if key is None else key.fingerprint(), side)
    refuse_other_twins(out, side)
    journal = CoatJournal(out, coater.fingerprint, config, marks)
    journal.refuse_other_key()
    return FolderRun(data, coater, out, config, journal, progress, message_of(key), side)


class FolderRun:
    """The state of one run over a folder, made by :func:`open_run`.

    Attributes
    ----------
    journal : CoatJournal
        The records.
    failures : dict[str, str]
        Why an image was not written, by its name.
    complete : bool
        Whether all images were reached.
    """

    def __init__(
        self,
        data: ImageSet,
        coater: Coater,
        out: Path,
        config: CoatConfig,
        journal: CoatJournal,
        progress: Progress,
        message: Tensor | None,
        side: TwinSide | None,
    ) -> None:
        self.side = side
        self.message, self.meter = message, CompressionMeter(coater, message)
        self.data, self.coater, self.out, self.config = data, coater, out, config
        self.journal, self.progress = journal, progress
        self.failures = dict(data.problems)
        self.begun = self.complete = False

    def plan(self, pool: ThreadPoolExecutor) -> list[CoatJob]:
        """Plan the run, open the journal, and return the jobs that an earlier run did not do.

        Parameters
        ----------
        pool : ThreadPoolExecutor
            Reads the files.

        Returns
        -------
        list[CoatJob]
            What is left to do.

        Raises
        ------
        DatasetError
            The output folder can't be written, or has files of others.
        Cancelled
            The user stopped the run.
        """
        layout = self.config.layout
        jobs, failures = plan_jobs(self.data, self.config, pool, self.progress)
        self.failures |= failures
        self.journal.refuse_other_images(job.sha256 for job in jobs)
        if self.side is not None:
            refuse_changed_twins(self.journal.recalled, jobs, self.out)
        entries = pool.map(lambda job: finished_entry(job, self.journal, self.out), jobs)
        kept = dict(zip(jobs, entries, strict=True))
        outputs = {name for job in jobs for name in job.files(layout)}
        outputs |= set(table_names(self.data, layout))
        self.journal.begin(outputs, [entry for entry in kept.values() if entry is not None])
        self.begun = True
        for job in jobs:
            if kept[job] is not None:  # its caption may have changed since
                try:
                    write_captions(job.item, job.output, self.out, layout)
                    write_mask(job.item, job.output, self.out, layout)
                except ImageError as error:
                    self.failures[job.item.name] = str(error)
        return [job for job, entry in kept.items() if entry is None]

    def coat(self, jobs: Sequence[CoatJob], pool: ThreadPoolExecutor, batch_size: int) -> None:
        """Run the network here, while threads decode the next batch and encode the last one.

        Parameters
        ----------
        jobs : Sequence[CoatJob]
            What is left to do.
        pool : ThreadPoolExecutor
            Decodes and encodes.
        batch_size : int
            Most images of equal size per pass.

        Raises
        ------
        DatasetError
            The output folder can't be written.
        Cancelled
            The user stopped the run.
        """
        self.begin_coating(len(jobs))
        groups = list(batches(jobs, batch_size))
        reads = [pool.submit(_attempt_read, job) for job in groups[0]] if groups else []
        writes: list[tuple[CoatJob, Future[None]]] = []
        try:
            for number, batch in enumerate(groups):
                pictures = [future.result() for future in reads]
                following = groups[number + 1] if number + 1 < len(groups) else []
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
                future.exception()  # wait, so that images that passed the network are written

    def begin_coating(self, count: int) -> None:
        """Show how many images are left to coat.

        Parameters
        ----------
        count : int
            Number of jobs.
        """
        done = len(self.journal.entries)
        self.progress.stage("Coating", count + done, done)

    def _collect(self, writes: Iterable[tuple[CoatJob, Future[None]]]) -> None:
        for job, future in writes:
            try:
                future.result()
            except DatasetError:  # the output folder itself is unusable
                raise
            except (SirenError, OSError) as error:
                if full := no_more_files(error):
                    raise self.full(str(full.strerror)) from error
                self.fail(job, error)
            else:
                self.progress.advance(1, job.item.name)

    def full(self, why: str) -> DatasetError:
        """The error of a full or read-only disk.

        Parameters
        ----------
        why : str
            The system's words.
        """
        return DatasetError(
            f"{self.out} can't be written: {why}. {len(self.journal.entries)} images are "
            "finished. Free some space, then run the same command again to resume."
        )

    def fail(self, job: CoatJob, error: BaseException | str) -> None:
        """Remember why an image was not written, and count it.

        Parameters
        ----------
        job : CoatJob
            The image.
        error : BaseException | str
            Why.

        Raises
        ------
        Cancelled
            The user stopped the run.
        """
        self.failures[job.item.name] = printable(reason_of(error))
        self.progress.advance(1, f"{job.item.name} skipped")

    def _through_network(
        self, batch: Sequence[CoatJob], pictures: Sequence[Picture | SirenError]
    ) -> Iterator[tuple[CoatJob, Picture, Result]]:
        """Coat and score the decoded images."""
        ready = []
        for job, picture in zip(batch, pictures, strict=True):
            if isinstance(picture, SirenError):
                self.fail(job, picture)
            else:
                ready.append((job, picture))
        for job, picture, result in coat_pictures(
            self.coater, ready, self.config, self.message, self.side
        ):
            if isinstance(result, str):
                self.fail(job, result)
            else:
                yield job, picture, result

    def _write(self, job: CoatJob, picture: Picture, result: Result) -> None:
        """Write an image and record it; runs in a thread."""
        layout = self.config.layout
        self.journal.add(write_entry(job, picture, result, self.out, layout, self.meter))

    def close(self) -> CoatManifest:
        """Write the layout's tables and the manifest for the finished images.

        Returns
        -------
        CoatManifest
            What was done.

        Raises
        ------
        DatasetError
            The output folder can't be written; the journal is kept.
        """
        failures = [CoatFailure(name, why) for name, why in self.failures.items()]
        if not self.begun:  # stopped before anything was written: keep the earlier records
            made = (self.journal.coater, self.config)
            return CoatManifest(*made, (), tuple(failures), (), False, self.journal.key)
        order = [item.name for item in self.data.items]
        entries = self.journal.entries.items()
        written = {name: Written(entry.output, entry.size) for name, entry in entries}
        write_tables(self.data, written, self.out, self.config.layout)
        return self.journal.finish(order, failures, complete=self.complete)


def _attempt_read(job: CoatJob) -> Picture | SirenError:
    try:
        return read_picture(job.item.path)
    except SirenError as error:
        return error
