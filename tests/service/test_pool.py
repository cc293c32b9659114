"""Places, waiting and recording."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.service.pool import CoatingPool
from siren_ext.service.records import ServiceJournal, read_journal

ENTRY = CoatEntry("1.in", "1.png", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16))


class Uploads:
    """Waits to be let go."""

    def __init__(self) -> None:
        self.free, self.most, self.now = threading.Event(), 0, 0
        self.lock = threading.Lock()

    def coat(self, file: Path, number: str, config: CoatConfig) -> tuple[CoatEntry, Path]:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.free.wait(30)
        with self.lock:
            self.now -= 1
        return ENTRY, file


@pytest.fixture
def parts(tmp_path: Path) -> tuple[CoatingPool, Uploads, ServiceJournal]:
    uploads: Any = Uploads()
    journal = ServiceJournal(tmp_path / "j", "c" * 64, "", 1.0)
    return CoatingPool(uploads, journal, workers=2, queue=1), uploads, journal


def test_places_are_bounded(parts) -> None:
    pool = parts[0]
    assert [pool.enter() for _ in range(4)] == [True, True, True, False]
    assert pool.inside == 3
    pool.leave()
    assert pool.enter()
    assert 1 <= pool.retry_after() <= 60


def test_workers_are_bounded_and_all_is_recorded(parts, tmp_path: Path) -> None:
    pool, uploads, journal = parts
    waiting = [pool.submit(tmp_path, str(number), CoatConfig()) for number in range(5)]
    assert waiting[-1].cancel()
    uploads.free.set()
    done = [future.result(timeout=30) for future in waiting[:-1]]
    pool.close()
    assert uploads.most == 2
    assert {one.entry for one in done} == {ENTRY}
    assert {image.id for _, image in read_journal(journal.path)} == {"0", "1", "2", "3"}
    assert all(one.worked >= 0 <= one.waited for one in done)


def test_what_can_not_be_recorded_fails(parts, tmp_path: Path, monkeypatch) -> None:
    pool, uploads, journal = parts
    uploads.free.set()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "add", full)
    with pytest.raises(OSError, match="No space"):
        pool.submit(tmp_path, "1", CoatConfig()).result(timeout=30)
    pool.close()
