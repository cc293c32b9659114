"""A worker that scores images: files of a folder or of a place, or all images of shards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from siren_ext.errors import ImageError, SirenError
from siren_ext.scale.places import Place, copy_name
from siren_ext.scale.shards import Sample, open_shard
from siren_ext.scale.worker import CoaterSetup, Outcome, Step, failure_of
from siren_ext.scoring.score_set import MAX_TEXT, StoredImage
from siren_ext.scoring.views import NOT_FINITE, Prepared, prepare_image, score_views
from siren_ext.text import printable


@dataclass(frozen=True)
class ScoreSetup(CoaterSetup):
    """What a worker that scores needs.

    Attributes
    ----------
    place : str
        URL or folder of the images or shards; "" if tasks name files of this machine.
    shards : bool
        Whether the tasks are shards.
    column : str
        The column of images of Parquet files; "" finds it.
    batch_size : int
        Images of a shard that are scored at once.
    """

    place: str = ""
    shards: bool = False
    column: str = ""
    batch_size: int = 16

    def open(self) -> ScoreWorker:
        """The worker, in its process."""
        return ScoreWorker(self)


@dataclass(frozen=True)
class ScoreTask:
    """An image, or a shard.

    Attributes
    ----------
    name : str
        What records call it.
    where : str
        Its file, or its name in the place.
    """

    name: str
    where: str


@dataclass(frozen=True)
class Scored:
    """What was done with a task.

    Attributes
    ----------
    rows : tuple[StoredImage, ...]
        The scores.
    failures : tuple[tuple[str, str], ...]
        Name of each image without a score, and why.
    """

    rows: tuple[StoredImage, ...]
    failures: tuple[tuple[str, str], ...] = ()


class ScoreWorker:
    """Holds a coater and scores.

    Parameters
    ----------
    setup : ScoreSetup
        What it needs.

    Raises
    ------
    SirenError
        The coater can't be loaded, or the place can't be used.
    """

    def __init__(self, setup: ScoreSetup) -> None:
        self._setup, self._coater = setup, setup.load()
        self._place = Place(setup.place) if setup.place else None

    def work(self, tasks: Sequence[ScoreTask]) -> Iterator[tuple[int, Outcome]]:
        """Score a batch.

        Parameters
        ----------
        tasks : Sequence[ScoreTask]
            Images, which are scored at once, or shards, one after the other.

        Yields
        ------
        tuple[int, Step | Scored | Failure]
            Index of a task, and what was done; for a shard a step for each image before that.
        """
        if self._setup.shards:
            for index, task in enumerate(tasks):
                try:
                    yield from self._shard(index, task)
                except (SirenError, OSError) as error:
                    yield index, failure_of(error)
            return
        images = []
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            for index, task in enumerate(tasks):
                images.append(self._prepared(task, Path(folder, str(index))))
        for index, outcome in enumerate(self._scored(images)):
            yield index, outcome

    def _prepared(self, task: ScoreTask, folder: Path) -> Prepared:
        if self._place is None:
            return self._prepare(task.name, Path(task.where))
        path = folder / copy_name(task.where)
        try:
            self._place.fetch(task.where, path)
        except SirenError as error:
            return Prepared(task.name, "", error=str(error)[:MAX_TEXT])
        return self._prepare(task.name, path)

    def _prepare(self, name: str, path: Path) -> Prepared:
        return prepare_image(name[:MAX_TEXT], path, self._coater.config.working_size)

    def _scored(self, images: Sequence[Prepared]) -> list[Scored]:
        """Score those images that could be read."""
        views = [image.view for image in images if image.view is not None]
        found = iter(score_views(torch.cat(views), self._coater) if views else [])
        made = []
        for image in images:
            if image.view is None:
                made.append(Scored((), ((image.name, image.error),)))
            elif (score := next(found)).finite():
                made.append(Scored((score.stored(image),)))
            else:
                made.append(Scored((), ((image.name, NOT_FINITE),)))
        return made

    def _shard(self, index: int, task: ScoreTask) -> Iterator[tuple[int, Outcome]]:
        rows: list[StoredImage] = []
        failures: list[tuple[str, str]] = []
        assert self._place is not None  # shards are always in a place
        most = self._setup.batch_size
        waiting: list[Prepared] = []
        with (
            tempfile.TemporaryDirectory(prefix="siren-") as folder,
            self._place.reading(task.where) as path,
            open_shard(path, task.name, self._setup.column) as shard,
        ):
            for sample in shard.samples(most):
                failures += [(f"{task.name}/{name}", why) for name, why in sample.refused]
                waiting += self._images(sample, task.name, Path(folder))
                while len(waiting) >= most:
                    yield from self._part(index, waiting[:most], rows, failures)
                    del waiting[:most]
            if waiting:
                yield from self._part(index, waiting, rows, failures)
        yield index, Scored(tuple(rows), tuple(failures))

    def _images(self, sample: Sample, shard: str, folder: Path) -> Iterator[Prepared]:
        for image in sample.images:
            if image.belongs:
                name = f"{shard}/{printable(image.name)}"
                path = folder / copy_name(image.name)
                try:
                    sample.save(image, path)
                except ImageError as error:
                    yield Prepared(name[:MAX_TEXT], "", error=str(error)[:MAX_TEXT])
                else:
                    yield self._prepare(name, path)
                    path.unlink()

    def _part(
        self,
        index: int,
        images: Sequence[Prepared],
        rows: list[StoredImage],
        failures: list[tuple[str, str]],
    ) -> Iterator[tuple[int, Step]]:
        """Score some images of a shard."""
        for image, scored in zip(images, self._scored(images), strict=True):
            rows += scored.rows
            failures += scored.failures
            yield index, Step(image.name)
