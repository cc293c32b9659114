"""Gives batches to workers and collects what they did, also when workers are killed.

The order of the work is the same for all engines; an engine starts workers and carries messages.
A worker reports every task, such as an image, as soon as it is done. If it is killed, only the
tasks that it had not reported are given out again, so no reported one is done twice, and none is
lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from siren_ext.errors import ConfigError
from siren_ext.scale.worker import Failure, Outcome, Step

MOST_LOSSES = 3
"""So many workers are lost to one task before it is given up. After one less the tasks of its
batch are tried one by one."""
LOSSES_IN_A_ROW = 12
"""So many workers are lost without one finished task before the run stops."""

T = TypeVar("T")
Given = TypeVar("Given", contravariant=True)


class WorkerLostError(Exception):
    """A worker has ended in the middle of its work; the message says how."""


class Worker(Protocol[Given]):
    """One worker."""

    def give(self, tasks: Sequence[Given]) -> None:
        """Begin a batch; raises :class:`WorkerLostError` if the worker has ended."""

    def take(self) -> tuple[int, Outcome] | None:
        """The next outcome, None at the end of the batch.

        Raises :class:`WorkerLostError` if the worker has ended, and ConfigError if it can't work.
        """

    def close(self) -> None:
        """End the worker after its work."""


W = TypeVar("W")


class Engine(Protocol[W]):
    """Starts workers and waits for them."""

    def start(self) -> W:
        """Start a worker, without waiting until it is ready."""

    def wait(self, workers: Sequence[W]) -> Sequence[W]:
        """Those workers, at least one, that have something to take, or have ended."""

    def close(self) -> None:
        """Leave what the engine has joined."""


@dataclass
class _Batch(Generic[T]):
    tasks: list[T]
    left: set[int]
    losses: int = 0


class Crew(Generic[T]):
    """Some workers and the batches that are left.

    Parameters
    ----------
    engine : Engine
        Starts the workers.
    size : int
        Number of workers.
    batches : Sequence[Sequence[T]]
        The work.
    """

    def __init__(
        self, engine: Engine[Worker[T]], size: int, batches: Sequence[Sequence[T]]
    ) -> None:
        self._engine, self._size = engine, size
        self._waiting = deque(_Batch(list(tasks), set(range(len(tasks)))) for tasks in batches)
        self._idle: list[Worker[T]] = []
        self._busy: list[tuple[Worker[T], _Batch[T]]] = []
        self._in_a_row = 0

    def stop(self) -> None:
        """Give out no more batches; those that were begun are finished."""
        self._waiting.clear()

    def results(self) -> Generator[tuple[T, Outcome], None, None]:
        """What was done with every task, in the order in which they end.

        Yields
        ------
        tuple[T, Outcome]
            A task, and its outcome; before that perhaps steps of it.

        Raises
        ------
        ConfigError
            Workers can't begin, or end one after another.
        """
        try:
            while self._waiting or self._busy:
                self._give()
                ready = self._engine.wait([worker for worker, _ in self._busy])
                for worker in ready:
                    batch = next(batch for one, batch in self._busy if one is worker)
                    try:
                        taken = worker.take()
                    except WorkerLostError as error:
                        self._free(worker)
                        worker.close()
                        yield from self._again(batch, str(error))
                        continue
                    if taken is None:
                        self._free(worker)
                        if self._waiting:
                            self._idle.append(worker)
                        else:  # others may need its place
                            worker.close()
                        continue
                    self._in_a_row = 0
                    if not isinstance(taken[1], Step):
                        batch.left.discard(taken[0])
                    yield batch.tasks[taken[0]], taken[1]
        finally:
            for worker in (*self._idle, *(worker for worker, _ in self._busy)):
                worker.close()

    def _give(self) -> None:
        """Give batches to idle workers; start the missing ones."""
        while self._waiting and len(self._busy) < self._size:
            worker = self._idle.pop() if self._idle else self._engine.start()
            try:
                worker.give(self._waiting[0].tasks)
            except WorkerLostError:  # while it was idle, so no task is to blame
                worker.close()
                self._count_loss("it ended while it was idle")
                continue
            self._busy.append((worker, self._waiting.popleft()))

    def _free(self, worker: Worker[T]) -> None:
        self._busy = [pair for pair in self._busy if pair[0] is not worker]

    def _count_loss(self, how: str) -> None:
        self._in_a_row += 1
        if self._in_a_row >= LOSSES_IN_A_ROW:
            raise ConfigError(
                f"{self._in_a_row} workers ended one after another without finishing any work "
                f"(the last one: {how}); often this means that there is not enough memory. Use "
                "fewer processes or a smaller --batch-size, then run the same command again to "
                "resume."
            )

    def _again(self, batch: _Batch[T], how: str) -> Iterator[tuple[T, Outcome]]:
        """Queue what a lost worker had not reported, or give it up."""
        self._count_loss(how)
        left = [task for index, task in enumerate(batch.tasks) if index in batch.left]
        losses = batch.losses + 1
        if losses >= MOST_LOSSES:
            for task in left:
                why = f"{losses} workers ended while they worked on it; the last: {how}"
                yield task, Failure(why)
            return
        groups = [left] if losses < MOST_LOSSES - 1 else [[task] for task in left]
        for group in reversed(groups):
            if group:
                self._waiting.appendleft(_Batch(group, set(range(len(group))), losses))
