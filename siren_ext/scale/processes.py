"""Workers in processes of this machine, each with its own networks."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from siren_ext.errors import ConfigError, SirenError
from siren_ext.scale.crew import WorkerLostError
from siren_ext.scale.worker import Outcome, Setup

_SECONDS_TO_END = 60.0

_Message = tuple[int, Outcome] | str | None


class ProcessWorker:
    """A process that works.

    Parameters
    ----------
    setup : Setup
        What it needs.
    """

    def __init__(self, setup: Setup) -> None:
        # not forked, because the networks may have running threads
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, setup), daemon=True)
        with _no_interrupts():
            self._process.start()
        there.close()  # so that the end of the process ends the connection

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid or 0

    def give(self, tasks: Sequence[Any]) -> None:
        """Begin a batch.

        Parameters
        ----------
        tasks : Sequence
            The batch, as the worker of the setup wants it.

        Raises
        ------
        WorkerLostError
            The process has ended.
        """
        try:
            self.connection.send(list(tasks))
        except OSError as error:
            raise WorkerLostError(self._end()) from error

    def take(self) -> tuple[int, Outcome] | None:
        """Wait for the next outcome.

        Returns
        -------
        tuple[int, Outcome] | None
            Index of a job and what was done; None at the end of the batch.

        Raises
        ------
        WorkerLostError
            The process has ended.
        ConfigError
            It can't work, for example because its coater can't be loaded.
        """
        try:
            message: _Message = self.connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerLostError(self._end()) from error
        if isinstance(message, str):
            raise ConfigError(message)
        return message

    def close(self) -> None:
        """End the process once it has finished what it is at."""
        self.connection.close()
        self._process.join(_SECONDS_TO_END)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def _end(self) -> str:
        self._process.join(_SECONDS_TO_END)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"it was killed by signal {-code}"
        return f"it ended with code {code}"


class ProcessEngine:
    """Starts processes.

    Parameters
    ----------
    setup : Setup
        What each worker needs.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    def start(self) -> ProcessWorker:
        """Start a process; it loads its networks while others work."""
        return ProcessWorker(self._setup)

    def wait(self, workers: Sequence[ProcessWorker]) -> Sequence[ProcessWorker]:
        """Wait until a worker has a message, or has ended.

        Parameters
        ----------
        workers : Sequence[ProcessWorker]
            At least one.

        Returns
        -------
        Sequence[ProcessWorker]
            Those that have.
        """
        ready = wait([worker.connection for worker in workers])
        return [worker for worker in workers if worker.connection in ready]

    def close(self) -> None:
        """There is nothing to leave."""


def threads_for(processes: int) -> int:
    """Threads of each process, so that all together use the cores once.

    Parameters
    ----------
    processes : int
        Number of processes.

    Returns
    -------
    int
        At least 1, and no more than ``OMP_NUM_THREADS`` says.
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    most = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores // processes)
    return min(share, int(most)) if most.isdigit() and int(most) else share


def _work(connection: Connection, setup: Setup) -> None:
    """The whole life of a process: it ends with its connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    logging.getLogger("siren_ext").setLevel(logging.ERROR)  # it gave the warnings too
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with suppress(EOFError, OSError):  # the parent has ended, or needs no more
        try:
            worker = setup.open()
            while True:
                for message in worker.work(connection.recv()):
                    connection.send(message)
                connection.send(None)
        except SirenError as error:
            connection.send(str(error))


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """A process that is started meanwhile gets no Ctrl-C before it can ignore it."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
