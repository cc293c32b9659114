"""What the workers of all commands have in common, in a process of this machine or of a cluster."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from siren_ext.devices import pick_device
from siren_ext.errors import CoaterError, SirenError, reason_of
from siren_ext.files import no_more_files
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater


@dataclass(frozen=True)
class Failure:
    """Why a task was not done.

    Attributes
    ----------
    error : str
        The reason.
    full : bool
        Whether the disk is full or read-only, so that no other task can be done either.
    """

    error: str
    full: bool = False


@dataclass(frozen=True)
class Step:
    """A part of a long task is done; its outcome follows later.

    Attributes
    ----------
    note : str
        What it is, such as the name of an image.
    """

    note: str


Outcome = Any
"""What was done with a task: :class:`Failure`, :class:`Step`, or what its command records."""


class BatchWorker(Protocol):
    """Does batches of the tasks that its setup is for."""

    def work(self, tasks: Sequence[Any], /) -> Iterator[tuple[int, Outcome]]:
        """Do a batch; yields the index of each task once with its outcome, in any order.

        A task may have any number of steps before its outcome.
        """


@dataclass(frozen=True, kw_only=True)
class Setup(ABC):
    """What a worker needs to begin.

    Attributes
    ----------
    device : str
        Where the networks run.
    threads : int
        Threads of the networks.
    """

    device: str = "cpu"
    threads: int = 1

    @abstractmethod
    def open(self) -> BatchWorker:
        """The worker, in its process."""

    @property
    def file(self) -> Path | None:
        """A file that each machine needs and that an engine brings there; None for none."""
        return None

    def with_file(self, path: Path) -> Setup:
        """The same, with :attr:`file` in another place.

        Parameters
        ----------
        path : Path
            Where it is now.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class CoaterSetup(Setup):
    """What a worker with a coater needs.

    Attributes
    ----------
    coater : Path
        The coater's file.
    fingerprint : str
        What the file must hold.
    """

    coater: Path
    fingerprint: str

    @property
    def file(self) -> Path:
        """The coater's file."""
        return self.coater

    def with_file(self, path: Path) -> CoaterSetup:
        """The same, with the coater's file in another place."""
        return dataclasses.replace(self, coater=path)

    def load(self) -> Coater:
        """The coater, in the worker's process.

        Raises
        ------
        CoaterError
            The coater's file can't be read or has changed.
        ConfigError
            There is no such device.
        """
        from siren_ext.coater.coater import Coater

        torch.set_num_threads(self.threads)
        coater = Coater.load(self.coater, device=pick_device(self.device))
        if coater.fingerprint != self.fingerprint:
            raise CoaterError(
                f"{self.coater} has changed since the run began; expected the same coater in all "
                "workers. Run the command again."
            )
        return coater


def failure_of(error: SirenError | OSError) -> Failure:
    """The reason of an error, in words.

    Parameters
    ----------
    error : SirenError | OSError
        Why a task could not be done.
    """
    if full := no_more_files(error):
        return Failure(str(full.strerror), full=True)
    return Failure(printable(reason_of(error)))
