"""Giving out work and reporting it: stops, steps, and what each setup holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from support.inline_engine import InlineEngine

from siren_ext.errors import Cancelled, ConfigError
from siren_ext.scale import run as module
from siren_ext.scale.run import check_numbers, run_crew, worker_facts
from siren_ext.scale.worker import Setup, Step


class Worker:
    def work(self, tasks: Sequence[str]) -> Iterator[tuple[int, object]]:
        for index, task in enumerate(tasks):
            yield index, Step(task)
            yield index, task.upper()


@dataclass(frozen=True)
class Made(Setup):
    def open(self) -> Worker:
        return Worker()


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))


def test_steps_come_before_outcomes() -> None:
    seen: list[tuple[str, object]] = []
    run_crew(Made(), ["ab"], lambda *pair: seen.append(pair), engine="local", processes=1)
    assert seen == [("a", Step("a")), ("a", "A"), ("b", Step("b")), ("b", "B")]
    run_crew(Made(), [], lambda *pair: seen.append(pair), engine="local", processes=1)
    assert len(seen) == 4


@pytest.mark.parametrize(("at_once", "count"), [(False, 4), (True, 1)])
def test_a_stop_ends_begun_batches_or_drops_them(at_once: bool, count: int) -> None:
    seen: list[object] = []

    def report(task: str, outcome: object) -> None:
        seen.append(outcome)
        raise Cancelled

    with pytest.raises(Cancelled):
        run_crew(Made(), ["ab", "cd"], report, engine="local", processes=1, at_once=at_once)
    assert len(seen) == count


def test_numbers_below_1_are_refused_and_threads_are_shared(monkeypatch) -> None:
    check_numbers(processes=1)
    with pytest.raises(ConfigError, match="batch_size is 0; expected 1 or more"):
        check_numbers(processes=1, batch_size=0)
    monkeypatch.setattr(module, "threads_for", lambda processes: 12 // processes)
    assert worker_facts("local", 4, "cpu") == {"device": "cpu", "threads": 3}
    assert worker_facts("ray", 4, "cuda") == {"device": "cuda", "threads": 1}
