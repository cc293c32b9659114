"""A worker that coats files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from siren_ext.coating.entry import write_entry
from siren_ext.coating.formats import CompressionMeter
from siren_ext.coating.manifest import CoatConfig
from siren_ext.coating.passes import coat_pictures
from siren_ext.coating.plan import CoatJob
from siren_ext.data.images import Picture, read_picture
from siren_ext.errors import SirenError
from siren_ext.scale.worker import BatchWorker, CoaterSetup, Failure, Outcome, failure_of


@dataclass(frozen=True)
class CoatSetup(CoaterSetup):
    """What a worker that coats needs.

    Attributes
    ----------
    config : CoatConfig
        The settings.
    out : Path
        The output folder.
    message : tuple[float, ...] | None
        The message of a keyed coater, values of -1 and +1.
    """

    config: CoatConfig
    out: Path
    message: tuple[float, ...] | None = field(default=None, repr=False)

    def open(self) -> BatchWorker:
        """The worker, in its process."""
        return CoatingWorker(self)


class CoatingWorker:
    """Holds a coater and coats batches.

    Parameters
    ----------
    setup : CoatSetup
        What it needs.

    Raises
    ------
    CoaterError, ConfigError
        As :meth:`~siren_ext.scale.worker.CoaterSetup.load`.
    """

    def __init__(self, setup: CoatSetup) -> None:
        self._setup, self._coater = setup, setup.load()
        self._message = None if setup.message is None else torch.tensor(setup.message)
        self._meter = CompressionMeter(self._coater, self._message)

    def work(
        self, jobs: Sequence[CoatJob], out: Path | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Coat a batch; every image is written before it is yielded.

        Parameters
        ----------
        jobs : Sequence[CoatJob]
            Jobs with the same ``coated``.
        out : Path | None
            The output folder; None for that of the setup.

        Yields
        ------
        tuple[int, CoatEntry | Failure]
            Index of a job, and what was done; each job once, in any order.
        """
        setup = self._setup
        out = setup.out if out is None else out
        numbers = {job: index for index, job in enumerate(jobs)}
        ready: list[tuple[CoatJob, Picture]] = []
        for job in jobs:
            try:
                ready.append((job, read_picture(job.item.path)))
            except SirenError as error:
                yield numbers[job], Failure(str(error))
        for job, picture, result in coat_pictures(self._coater, ready, setup.config, self._message):
            if isinstance(result, str):
                yield numbers[job], Failure(result)
                continue
            try:
                entry = write_entry(job, picture, result, out, setup.config.layout, self._meter)
            except (SirenError, OSError) as error:
                yield numbers[job], failure_of(error)
            else:
                yield numbers[job], entry
