"""What every worker does, in a process of this machine or of a cluster: coats batches of jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from siren_ext.coater.coater import Coater
from siren_ext.coating.entry import write_entry
from siren_ext.coating.formats import CompressionMeter
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.coating.passes import coat_pictures
from siren_ext.coating.plan import CoatJob
from siren_ext.data.images import Picture, read_picture
from siren_ext.devices import pick_device
from siren_ext.errors import CoaterError, SirenError, reason_of
from siren_ext.files import no_more_files
from siren_ext.text import printable


@dataclass(frozen=True)
class Setup:
    """What a worker needs to begin.

    Attributes
    ----------
    coater : Path
        The coater's file.
    fingerprint : str
        What the file must hold.
    config : CoatConfig
        The settings.
    out : Path
        The output folder.
    message : tuple[float, ...] | None
        The message of a keyed coater, values of -1 and +1.
    device : str
        Where the networks run.
    threads : int
        Threads of the networks.
    """

    coater: Path
    fingerprint: str
    config: CoatConfig
    out: Path
    message: tuple[float, ...] | None = field(default=None, repr=False)
    device: str = "cpu"
    threads: int = 1

    def open(self) -> BatchWorker:
        """The worker, in its process."""
        return CoatingWorker(self)


@dataclass(frozen=True)
class Failure:
    """Why an image was not written.

    Attributes
    ----------
    error : str
        The reason.
    full : bool
        Whether the disk is full or read-only, so that no other image can be written either.
    """

    error: str
    full: bool = False


Outcome = CoatEntry | Failure


class BatchWorker(Protocol):
    """Coats batches of whatever its setup gives it."""

    def coat(self, tasks: Sequence[Any], /) -> Iterator[tuple[int, Outcome]]:
        """Coat a batch; yields the index of each task, and what was done with it."""


class CoatingWorker:
    """Holds a coater and coats batches.

    Parameters
    ----------
    setup : Setup
        What it needs.

    Raises
    ------
    CoaterError
        The coater's file can't be read or has changed.
    ConfigError
        There is no such device.
    """

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(setup.threads)
        self._setup = setup
        self._coater = Coater.load(setup.coater, device=pick_device(setup.device))
        if self._coater.fingerprint != setup.fingerprint:
            raise CoaterError(
                f"{setup.coater} has changed since the run began; expected the same coater in all "
                "workers. Run the command again."
            )
        self._message = None if setup.message is None else torch.tensor(setup.message)
        self._meter = CompressionMeter(self._coater, self._message)

    def coat(
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
        tuple[int, Outcome]
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


def failure_of(error: SirenError | OSError) -> Failure:
    """The reason of an error, in words.

    Parameters
    ----------
    error : SirenError | OSError
        Why an image could not be written.
    """
    if full := no_more_files(error):
        return Failure(str(full.strerror), full=True)
    return Failure(printable(reason_of(error)))
