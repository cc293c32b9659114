"""A Ray cluster of two workers on this machine."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from support.noise_files import largest_difference, noise

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, MissingExtraError
from siren_ext.progress import Progress
from siren_ext.scale import cluster
from siren_ext.scale.coat import coat_with_workers
from siren_ext.scale.coat_worker import CoatSetup


def test_without_ray_the_extra_is_named(coater_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"siren-ext\[cluster\]"):
        cluster.RayEngine(CoatSetup(coater_file, "", CoatConfig(), tmp_path), 2)


def test_a_worker_says_what_keeps_it_from_working(coater_file, tmp_path) -> None:
    setup = CoatSetup(coater_file, "another", CoatConfig(), tmp_path)
    (message,) = cluster.ClusterWorker(setup, coater_file.read_bytes()).work([])
    assert "has changed since the run began" in message


class Killing(cluster.RayEngine):
    """Kills the process of the first worker as soon as it has reported an image."""

    def __init__(self, setup: CoatSetup, processes: int) -> None:
        super().__init__(setup, processes, most=2)
        self.started: list[cluster.RayWorker] = []
        self.first = self.killed = 0

    def start(self) -> cluster.RayWorker:
        import ray

        self.started.append(super().start())
        self.first = self.first or ray.get(self.started[0].actor.process.remote())
        return self.started[-1]

    def wait(self, workers: list[cluster.RayWorker]) -> list[cluster.RayWorker]:
        ready = super().wait(workers)
        if not self.killed and self.started[0] in ready:
            os.kill(self.first, signal.SIGKILL)
            self.killed = self.first
        return ready


class Notes(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.coating, self.names = False, []

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.coating = label == "Coating"

    def advance(self, units: int = 1, note: str = "") -> None:
        if self.coating:
            self.names.append(note)


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_is_coated_twice(
    data, coater_file, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("ray", reason="needs the extra 'cluster'")
    for index in range(12, 60):
        noise(data / f"{index}.png", size=(320, 300))
    engines: list[Killing] = []

    def engine(setup: CoatSetup, processes: int) -> Killing:
        engines.append(Killing(setup, processes))
        return engines[-1]

    usual = cluster.RayEngine
    monkeypatch.setattr(cluster, "RayEngine", engine)
    begun = time.time_ns()
    images, coater, progress = ImageSet.open(data), Coater.load(coater_file), Notes()
    out = tmp_path / "ray"
    made = coat_with_workers(
        images,
        coater,
        coater_file,
        out,
        processes=2,
        engine="ray",
        batch_size=8,
        progress=progress,
    )
    assert engines[0].killed
    assert len(engines[0].started) == 3
    assert made.complete
    assert made.failures == ()
    assert sorted(progress.names) == sorted(f"{index}.png" for index in range(60))
    one = coat_folder(images, coater, tmp_path / "one", batch_size=8)
    assert [(e.source, e.output) for e in made.entries] == [
        (e.source, e.output) for e in one.entries
    ]
    # a small network passes several images at once, and the rest of a lost batch is fewer of them
    for entry in one.entries:
        assert largest_difference(out / entry.output, tmp_path / "one" / entry.output) <= 1
    assert not list(out.glob(".*"))
    assert all((out / entry.output).stat().st_mtime_ns > begun for entry in made.entries)
    with pytest.raises(ConfigError, match="expected 9999 for 9999 processes"):
        usual(CoatSetup(coater_file, coater.fingerprint, CoatConfig(), out), 9999, most=2)
