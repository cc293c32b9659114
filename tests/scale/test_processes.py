"""A worker's process: its messages, its end, and its share of the cores."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from siren_ext.coater.coater import Coater
from siren_ext.coating.manifest import CoatConfig
from siren_ext.errors import ConfigError
from siren_ext.scale import processes
from siren_ext.scale.coat_worker import CoatSetup
from siren_ext.scale.crew import WorkerLostError
from siren_ext.scale.processes import ProcessEngine, threads_for


def setup(coater_file: Path, out: Path, fingerprint: str = "") -> CoatSetup:
    found = fingerprint or Coater.load(coater_file).fingerprint
    return CoatSetup(coater_file, found, CoatConfig(), out)


def test_a_process_answers_and_ends(coater_file, tmp_path) -> None:
    engine = ProcessEngine(setup(coater_file, tmp_path / "out"))
    worker = engine.start()
    try:
        worker.give([])
        assert engine.wait([worker]) == [worker]
        assert worker.take() is None
        os.kill(worker.pid, signal.SIGINT)  # Ctrl-C is the parent's matter
        worker.give([])
        assert worker.take() is None
        os.kill(worker.pid, signal.SIGKILL)
        assert engine.wait([worker]) == [worker]
        with pytest.raises(WorkerLostError, match="killed by signal 9"):
            worker.take()
        with pytest.raises(WorkerLostError):
            worker.give([])
    finally:
        worker.close()
    assert not Path(f"/proc/{worker.pid}").exists()


def test_what_keeps_it_from_working_is_told(coater_file, tmp_path) -> None:
    worker = ProcessEngine(setup(coater_file, tmp_path / "out", "another")).start()
    try:
        with pytest.raises(ConfigError, match="has changed since the run began"):
            worker.take()
    finally:
        worker.close()


def test_the_cores_are_shared(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert [threads_for(count) for count in (1, 2, 3, 8, 100)] == [8, 4, 2, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [threads_for(count) for count in (1, 3, 8)] == [2, 2, 1]
