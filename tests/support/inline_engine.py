"""Workers in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


class InlineWorker:
    def __init__(self, setup: Any) -> None:
        self.worker, self.outcomes = setup.open(), iter(())

    def give(self, tasks: Sequence[Any]) -> None:
        self.outcomes: Iterator[Any] = self.worker.work(tasks)

    def take(self) -> Any:
        return next(self.outcomes, None)

    def close(self) -> None:
        pass


class InlineEngine:
    def __init__(self, setup: Any) -> None:
        self.setup = setup

    def start(self) -> InlineWorker:
        return InlineWorker(self.setup)

    def wait(self, workers: Sequence[InlineWorker]) -> Sequence[InlineWorker]:
        return workers

    def close(self) -> None:
        pass
