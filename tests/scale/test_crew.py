"""Who gets which batch, with workers that end when the test says."""

from __future__ import annotations

from collections import deque

import pytest

from siren_ext.errors import ConfigError
from siren_ext.scale.crew import LOSSES_IN_A_ROW, MOST_LOSSES, Crew, WorkerLostError
from siren_ext.scale.worker import Failure

DONE = Failure("done")


class FakeWorker:
    """Ends when it comes to a task that the engine calls deadly."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine, self.closed = engine, False
        self.tasks: deque[tuple[int, str]] = deque()

    def give(self, tasks: list[str]) -> None:
        if self.engine.dead_at_once:
            raise WorkerLostError("at once")
        self.engine.given.append(list(tasks))
        self.tasks = deque(enumerate(tasks))

    def take(self) -> tuple[int, Failure] | None:
        if not self.tasks:
            return None
        index, task = self.tasks.popleft()
        self.engine.begun.append(task)
        if self.engine.deadly.get(task, 0):
            self.engine.deadly[task] -= 1
            raise WorkerLostError("killed")
        return index, DONE

    def close(self) -> None:
        self.closed = True


class FakeEngine:
    def __init__(self, **deadly: int) -> None:
        self.deadly, self.dead_at_once = deadly, False
        self.given: list[list[str]] = []
        self.begun: list[str] = []
        self.started: list[FakeWorker] = []

    def start(self) -> FakeWorker:
        self.started.append(FakeWorker(self))
        return self.started[-1]

    def wait(self, workers: list[FakeWorker]) -> list[FakeWorker]:
        return list(workers)


def test_every_task_is_done_once_and_workers_are_used_again() -> None:
    engine = FakeEngine()
    results = list(Crew(engine, 2, ["ab", "cd", "e"]).results())
    assert sorted(task for task, _ in results) == list("abcde")
    assert len(engine.started) == 2
    assert all(worker.closed for worker in engine.started)


def test_only_what_a_lost_worker_had_not_reported_is_given_again() -> None:
    engine = FakeEngine(b=1)
    results = list(Crew(engine, 1, ["abc", "d"]).results())
    assert sorted(results) == [(task, DONE) for task in "abcd"]
    assert engine.given == [["a", "b", "c"], ["b", "c"], ["d"]]
    assert sorted(engine.begun) == list("abbcd")
    assert len(engine.started) == 2


def test_a_task_that_ends_its_workers_is_given_up_and_the_others_are_done() -> None:
    engine = FakeEngine(b=100)
    results = dict(Crew(engine, 2, ["abcd", "e"]).results())
    assert {task for task, outcome in results.items() if outcome is DONE} == set("acde")
    assert f"{MOST_LOSSES} workers ended" in results["b"].error
    assert "killed" in results["b"].error
    assert engine.begun.count("b") == MOST_LOSSES


def test_workers_that_always_end_stop_the_run() -> None:
    engine = FakeEngine()
    engine.dead_at_once = True
    with pytest.raises(ConfigError, match="fewer processes"):
        list(Crew(engine, 2, ["ab"]).results())
    assert len(engine.started) == LOSSES_IN_A_ROW
    engine = FakeEngine(**dict.fromkeys("abcdefghijklmnop", 100))
    with pytest.raises(ConfigError, match="killed"):
        list(Crew(engine, 2, list("abcdefghijklmnop")).results())


def test_a_stop_lets_begun_batches_end() -> None:
    engine = FakeEngine()
    crew = Crew(engine, 1, ["abc", "de"])
    results = []
    for task, _ in crew.results():
        results.append(task)
        crew.stop()
    assert results == list("abc")
    assert engine.started[0].closed
