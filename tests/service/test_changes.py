"""Waiting for changes, with events and without."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

import pytest

from siren_ext.service.changes import Changes

needs_watchfiles = pytest.mark.skipif(
    importlib.util.find_spec("watchfiles") is None, reason="needs watchfiles"
)


def test_without_events_each_wait_takes_the_interval(tmp_path: Path) -> None:
    changes = Changes(tmp_path, 0.2, lambda: False, events=False)
    start = time.monotonic()
    assert not changes.has_events
    assert changes.wait()
    assert 0.15 < time.monotonic() - start < 5


def test_a_stop_ends_a_wait_without_events(tmp_path: Path) -> None:
    stop = threading.Event()
    changes = Changes(tmp_path, 60, stop.is_set, events=False)
    threading.Timer(0.2, stop.set).start()
    start = time.monotonic()
    changes.wait()
    assert time.monotonic() - start < 10


@needs_watchfiles
def test_an_event_ends_a_wait(tmp_path: Path) -> None:
    changes = Changes(tmp_path, 0.3, lambda: False)
    assert changes.has_events
    assert changes.wait(), "something may have come before the events began"
    assert not changes.wait()
    changes.close()
    changes = Changes(tmp_path, 30, lambda: False)
    timer = threading.Timer(0.5, (tmp_path / "a.png").write_bytes, [b"1"])
    timer.start()
    start = time.monotonic()
    assert changes.wait()
    assert time.monotonic() - start < 20
    changes.close()


@needs_watchfiles
def test_a_stop_ends_a_wait_for_events(tmp_path: Path) -> None:
    stop = threading.Event()
    changes = Changes(tmp_path, 60, stop.is_set)
    threading.Timer(0.3, stop.set).start()
    start = time.monotonic()
    changes.wait()
    assert time.monotonic() - start < 20


def test_where_events_fail_the_interval_is_waited(tmp_path: Path) -> None:
    changes = Changes(tmp_path / "none", 0.1, lambda: False)
    assert changes.wait()
    assert not changes.has_events
    assert changes.wait()
