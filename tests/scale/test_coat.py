"""Several processes write what one writes; after kills nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.keyed_coating import key
from support.noise_files import files, largest_difference, noise
from support.processes import with_support

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.journal import JOURNAL_NAME
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, CoaterError, ConfigError
from siren_ext.progress import Progress
from siren_ext.scale import run as module
from siren_ext.scale.coat import coat_with_workers
from siren_ext.scale.processes import ProcessEngine, ProcessWorker


class Killing(ProcessEngine):
    """Kills the first worker as soon as it has reported an image."""

    def __init__(self, setup: object) -> None:
        super().__init__(setup)
        self.started: list[ProcessWorker] = []

    def start(self) -> ProcessWorker:
        self.started.append(super().start())
        return self.started[-1]

    def wait(self, workers: list[ProcessWorker]) -> list[ProcessWorker]:
        ready = super().wait(workers)
        if self.started[0] in ready and len(self.started) < 3:
            os.kill(self.started[0].pid, signal.SIGKILL)
        return ready


class Counting(Progress):
    """Counts the images, and stops after some."""

    def __init__(self, after: int = 10**9, then: Callable[[], None] = lambda: None) -> None:
        super().__init__(lambda: self.count >= after)
        self.count, self.coating, self.notes, self.then = 0, False, [], then

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.coating = label == "Coating"

    def advance(self, units: int = 1, note: str = "") -> None:
        if self.coating:
            self.count += units
            self.notes.append(note)
            self.then()
        super().advance(units, note)


def made_by_one(data: Path, coater_file: Path, out: Path, **options: object) -> CoatManifest:
    return coat_folder(ImageSet.open(data), Coater.load(coater_file), out, **options)


def made_by_two(data: Path, coater_file: Path, out: Path, **options: object) -> CoatManifest:
    options = {"processes": 2, "batch_size": 4} | options
    return coat_with_workers(
        ImageSet.open(data), Coater.load(coater_file), coater_file, out, **options
    )


@pytest.mark.parametrize("options", [{}, {"share": 0.5, "format": "webp", "layout": "imagefolder"}])
def test_files_and_manifest_are_those_of_one_process(data, coater_file, tmp_path, options) -> None:
    (data / "broken.png").write_bytes(b"no image")
    config = CoatConfig(**options)
    one = made_by_one(data, coater_file, tmp_path / "one", config=config, batch_size=4)
    two = made_by_two(data, coater_file, tmp_path / "two", config=config)
    assert two == one == CoatManifest.load(tmp_path / "two" / MANIFEST_NAME)
    assert len(two.entries) == 12
    assert [failure.source for failure in two.failures] == ["broken.png"]
    names = files(tmp_path / "one").keys()
    assert files(tmp_path / "two").keys() == names
    for name in names:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_a_killed_worker_loses_nothing_and_nothing_is_reported_twice(
    data, coater_file, tmp_path, monkeypatch
) -> None:
    engines: list[Killing] = []
    monkeypatch.setattr(
        module, "ProcessEngine", lambda setup: engines.append(Killing(setup)) or engines[0]
    )
    for index in range(12, 36):  # so large that a worker is killed within a batch
        noise(data / f"{index}.png", size=(320, 300))
    progress = Counting()
    two = made_by_two(data, coater_file, tmp_path / "two", progress=progress)
    assert len(engines[0].started) == 3
    one = made_by_one(data, coater_file, tmp_path / "one", batch_size=4)
    assert [(e.source, e.output) for e in two.entries] == [
        (e.source, e.output) for e in one.entries
    ]
    # a small network passes several images at once, and the rest of a lost batch is fewer of them
    for entry in one.entries:
        name = entry.output
        assert largest_difference(tmp_path / "one" / name, tmp_path / "two" / name) <= 1
    assert sorted(progress.notes) == sorted(f"{index}.png" for index in range(36))
    assert two.failures == ()
    assert two.complete
    assert not list((tmp_path / "two").glob(".*"))


@pytest.mark.slow
def test_a_stopped_run_is_resumed(data, coater_file, tmp_path) -> None:
    out = tmp_path / "two"
    with pytest.raises(Cancelled):
        made_by_two(data, coater_file, out, progress=Counting(after=3))
    stopped = CoatManifest.load(out / MANIFEST_NAME)
    assert not stopped.complete
    assert 3 <= len(stopped.entries) < 12
    times = {entry.source: (out / entry.output).stat().st_mtime_ns for entry in stopped.entries}
    progress = Counting()
    whole = made_by_two(data, coater_file, out, progress=progress)
    assert whole.complete
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    assert sorted(progress.notes) == sorted({f"{index}.png" for index in range(12)} - set(times))


@pytest.mark.slow
def test_a_killed_run_is_resumed_without_coating_twice(data, coater_file, tmp_path) -> None:
    for index in range(12, 60):
        noise(data / f"{index}.png", size=(120, 100))
    out = tmp_path / "two"
    line = [sys.executable, "-c", "from siren_ext.cli.app import main; main()", "coat", str(data)]
    line += ["--coater", str(coater_file), "--out", str(out), "--processes", "2", "--quiet"]
    line += ["--batch-size", "4"]
    run = subprocess.Popen(line, env=with_support(), stdout=subprocess.DEVNULL)
    try:
        journal, end = out / JOURNAL_NAME, time.monotonic() + 60
        while run.poll() is None and time.monotonic() < end:
            if journal.exists() and journal.read_bytes().count(b'"source"') >= 5:
                break
            time.sleep(0.005)
    finally:
        run.kill()
    assert run.wait() == -signal.SIGKILL
    lines = journal.read_bytes().split(b"\n")[1:-1]
    recorded = {json.loads(one)["source"]: json.loads(one)["output"] for one in lines}
    assert 5 <= len(recorded) < 60
    times = {name: (out / name).stat().st_mtime_ns for name in recorded.values()}
    progress = Counting()
    whole = made_by_two(data, coater_file, out, progress=progress)
    assert len(whole.entries) == 60
    assert not set(progress.notes) & set(recorded)
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times


def test_mistakes_are_told(data, coater_file, tmp_path, monkeypatch) -> None:
    with pytest.raises(ConfigError, match="processes is 0"):
        made_by_two(data, coater_file, tmp_path / "a", processes=0)
    other = tmp_path / "other.safetensors"
    Coater(Coater.load(coater_file).config, seed=2).save(other)
    with pytest.raises(ConfigError, match="has changed since the run began"):
        coat_with_workers(
            ImageSet.open(data), Coater.load(coater_file), other, tmp_path / "b", processes=1
        )
    with pytest.raises(CoaterError, match="not keyed"):
        made_by_two(data, coater_file, tmp_path / "c", key=key())
