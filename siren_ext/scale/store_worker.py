"""A worker that gets its images from a place and sends them to another one."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from siren_ext.coating.formats import target_of
from siren_ext.coating.manifest import CoatEntry
from siren_ext.coating.plan import CoatJob
from siren_ext.data.dataset import Item
from siren_ext.data.images import picture_size
from siren_ext.errors import ImageError, SirenError
from siren_ext.files import sha256_file
from siren_ext.scale.coat_worker import CoatingWorker, CoatSetup
from siren_ext.scale.places import Place, copy_name
from siren_ext.scale.worker import Failure, Outcome, failure_of


@dataclass(frozen=True)
class StoreTask:
    """One image of a place.

    Attributes
    ----------
    source : str
        Its name there.
    captions : tuple[str, ...]
        Names of its caption files.
    output : str
        Its name in the output place.
    """

    source: str
    captions: tuple[str, ...]
    output: str

    @property
    def item(self) -> Item:
        """The image as one of a folder, before it is fetched."""
        name = PurePosixPath(self.source)
        return Item(Path(name), None, name)


@dataclass(frozen=True)
class StoreSetup(CoatSetup):
    """What such a worker needs besides.

    Attributes
    ----------
    source, target : str
        URLs of the two places.
    """

    source: str = ""
    target: str = ""

    def open(self) -> StoreWorker:
        """The worker, in its process."""
        return StoreWorker(self)


class StoreWorker:
    """Fetches a batch, coats it, and sends every image before it is reported.

    Parameters
    ----------
    setup : StoreSetup
        What it needs.

    Raises
    ------
    SirenError
        As :class:`~siren_ext.scale.coat_worker.CoatingWorker`, or a place can't be used.
    """

    def __init__(self, setup: StoreSetup) -> None:
        self._setup, self._inner = setup, CoatingWorker(setup)
        self._from, self._to = Place(setup.source), Place(setup.target)

    def work(self, tasks: Sequence[StoreTask]) -> Iterator[tuple[int, Outcome]]:
        """Coat a batch.

        Parameters
        ----------
        tasks : Sequence[StoreTask]
            The images.

        Yields
        ------
        tuple[int, Outcome]
            Index of a task, and what was done.
        """
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            begun, done = Path(folder, "in"), Path(folder, "out")
            jobs: list[CoatJob] = []
            numbers: list[int] = []
            for index, task in enumerate(tasks):
                try:
                    jobs.append(self._job(task, begun / str(index)))
                    numbers.append(index)
                except (SirenError, OSError) as error:
                    yield index, failure_of(error)
            for number, outcome in self._inner.work(jobs, done):
                yield numbers[number], self._sent(jobs[number], outcome, done)

    def _job(self, task: StoreTask, folder: Path) -> CoatJob:
        """Fetch an image and its captions."""
        item = task.item
        path = folder / copy_name(task.source)
        self._from.fetch(task.source, path)
        captions = []
        for number, name in enumerate(task.captions):
            captions.append(folder / f"{number}" / f"caption{PurePosixPath(name).suffix.lower()}")
            self._from.fetch(name, captions[-1])
        target = target_of(path, self._setup.config)
        output = PurePosixPath(task.output)
        if target.suffix.lower() != output.suffix.lower():
            raise ImageError(
                f"It would be written as {target.suffix}, but its name ends in {output.suffix}. "
                "Rename it, or leave out --format."
            )
        fetched = dataclasses.replace(item, path=path, caption_files=tuple(captions))
        size = picture_size(path)
        return CoatJob(fetched, task.output, sha256_file(path), size, target, coated=True)

    def _sent(self, job: CoatJob, outcome: Outcome, folder: Path) -> Outcome:
        """Send what was written, the image last."""
        if not isinstance(outcome, CoatEntry):
            return outcome
        try:
            for name in reversed(job.files(self._setup.config.layout)):
                self._to.send(folder / name, name)
                (folder / name).unlink()
        except SirenError as error:
            return Failure(str(error))
        return outcome
