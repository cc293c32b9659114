"""Several processes score as one does; after kills nothing is lost or done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.inline_engine import InlineEngine
from support.noise_files import noise
from support.processes import with_support
from support.shard_files import parquet, samples, tar

from siren_ext.coater.coater import Coater
from siren_ext.errors import Cancelled, ConfigError, ScoreError
from siren_ext.progress import Progress
from siren_ext.scale import run as module
from siren_ext.scale.processes import ProcessEngine, ProcessWorker
from siren_ext.scale.score import score_with_workers
from siren_ext.scale.shard_coat import coat_shards
from siren_ext.scale.shards import shards_at
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet


class Notes(Progress):
    def __init__(self, after: int = 10**9) -> None:
        super().__init__(lambda: len(self.names) >= after)
        self.names: list[str] = []

    def advance(self, units: int = 1, note: str = "") -> None:
        self.names.append(note)
        super().advance(units, note)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))


def run(given, coater_file: Path, journal: Path, **options) -> ScoreSet:
    options = {"batch_size": 4} | options
    return score_with_workers(given, Coater.load(coater_file), coater_file, journal, **options)


def by_one(data: Path, coater_file: Path) -> ScoreSet:
    return score_folder(data, Coater.load(coater_file), batch_size=4)


@pytest.mark.usefixtures("inline")
def test_scores_are_those_of_one_process(data, coater_file, tmp_path) -> None:
    (data / "provenance.json").write_text('{"steps": 20}')
    (data / "z.png").write_bytes(b"no image")
    (data / "link.png").symlink_to("/etc/passwd")
    one = by_one(data, coater_file)
    assert run(data, coater_file, tmp_path / "a").to_dict() == one.to_dict()
    assert len(one.failures) == 2
    (data / "link.png").unlink()  # a place has no links of its own
    pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
    by_url = run(f"file://{data}", coater_file, tmp_path / "b").to_dict()
    assert by_url == by_one(data, coater_file).to_dict()
    with pytest.raises(ScoreError, match="contains no images"):
        run(f"file://{tmp_path}/none", coater_file, tmp_path / "c")
    with pytest.raises(ScoreError, match="not a folder"):
        run(tmp_path / "none", coater_file, tmp_path / "c")
    with pytest.raises(ConfigError, match="processes is 0"):
        run(data, coater_file, tmp_path / "c", processes=0)


@pytest.mark.usefixtures("inline")
def test_a_stopped_run_goes_on_and_sees_changes(data, coater_file, tmp_path) -> None:
    first, second = Notes(after=3), Notes()
    with pytest.raises(Cancelled):
        run(data, coater_file, tmp_path / "journal", progress=first)
    assert len(first.names) == 4  # the batch that was begun
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600
    noise(data / "1.png")
    with (tmp_path / "journal").open("a") as stream:
        stream.write('{"task": "torn')
    found = run(data, coater_file, tmp_path / "journal", progress=second)
    assert set(second.names) == {f"{index}.png" for index in range(12)} - set(first.names) | {
        "1.png"
    }
    np.testing.assert_allclose(found.scores, by_one(data, coater_file).scores, atol=1e-5)
    Coater(Coater.load(coater_file).config, seed=9).save(coater_file)
    third = Notes()
    run(data, coater_file, tmp_path / "journal", progress=third)
    assert len(third.names) == 12


@pytest.mark.usefixtures("inline")
def test_shards_are_scored_as_the_images_in_them(data, coater_file, tmp_path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
    images = samples(data / "more", 0, 5)
    shutil.copy(data / "more" / "004.png", data / "more" / "4.png")
    folder, journal = tmp_path / "in", tmp_path / "journal"
    tar(folder / "a.tar", images | {"../x.png": images["000.png"], "b.png": b"no image"})
    (folder / "b.tar").write_bytes(b"no tar")
    one = by_one(data / "more", coater_file)
    found = run(shards_at(folder), coater_file, journal)
    assert found.names == tuple(f"a.tar/{index:03d}.png" for index in range(5))
    assert found.source == {"kind": "folder", "folder": "in"}
    np.testing.assert_allclose(found.scores, one.scores[:5], atol=1e-5)
    assert found.hashes == one.hashes[:5]
    assert [name for name, _ in found.failures] == ["a.tar/../x.png", "a.tar/b.png", "b.tar"]
    assert "not a tar file" in found.failures[2][1]
    tar(folder / "b.tar", samples(data / "more", 5, 2))
    again = Notes()
    assert len(run(shards_at(folder), coater_file, journal, progress=again)) == 7
    assert again.names == ["b.tar/005.png", "b.tar/006.png"]
    (tmp_path / "c.tar").write_bytes(b"")
    with pytest.raises(ScoreError, match="None of 1 images"):
        run(shards_at(tmp_path / "c.tar"), coater_file, tmp_path / "other")


@pytest.mark.usefixtures("inline")
def test_parquet_is_scored(data, coater_file, tmp_path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra 'parquet'")
    file = parquet(tmp_path / "a.parquet", data)
    found = run(shards_at(file), coater_file, tmp_path / "journal", column="image")
    assert found.names == tuple(f"a.parquet/{index}.png" for index in range(12))
    np.testing.assert_array_equal(found.scores, by_one(data, coater_file).scores)
    with pytest.raises(ScoreError, match="no column 'text' with the bytes"):
        run(shards_at(file), coater_file, tmp_path / "journal", column="text")


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
        if len(self.started) == 1:
            os.kill(self.started[0].pid, signal.SIGKILL)
        return ready


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_nothing_is_scored_twice(
    data, coater_file, tmp_path, monkeypatch
) -> None:
    engines: list[Killing] = []
    monkeypatch.setattr(
        module, "ProcessEngine", lambda setup: engines.append(Killing(setup)) or engines[-1]
    )
    progress = Notes()
    found = run(data, coater_file, tmp_path / "journal", progress=progress)
    assert len(engines[0].started) == 2
    assert sorted(progress.names) == sorted(f"{index}.png" for index in range(12))
    lines = (tmp_path / "journal").read_text().splitlines()[1:]
    assert sorted(json.loads(line)["task"] for line in lines) == sorted(progress.names)
    one = by_one(data, coater_file)
    assert (found.names, found.hashes) == (one.names, one.hashes)
    np.testing.assert_allclose(found.scores, one.scores, atol=1e-5)


@pytest.mark.slow
def test_a_killed_run_is_resumed_without_scoring_twice(data, coater_file, tmp_path) -> None:
    for index in range(12, 60):
        noise(data / f"{index}.png", size=(120, 100))
    out, journal = tmp_path / "scores.json", tmp_path / ".scores.json.journal"
    line = [sys.executable, "-c", "from siren_ext.cli.app import main; main()", "score", str(data)]
    line += ["--coater", str(coater_file), "--out", str(out), "--processes", "2", "--quiet"]
    process = subprocess.Popen(
        [*line, "--batch-size", "1"], env=with_support(), stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if journal.exists() and journal.read_bytes().count(b'"task"') >= 5:
                break
            time.sleep(0.005)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {json.loads(text)["task"] for text in journal.read_text().splitlines()[1:]}
    assert 5 <= len(before) < 60
    progress = Notes()
    found = run(data, coater_file, journal, batch_size=1, progress=progress)
    assert not set(progress.names) & before
    assert found.to_dict() == score_folder(data, Coater.load(coater_file), batch_size=1).to_dict()


@pytest.mark.slow
def test_a_bucket_is_scored_and_its_shards_are(data, coater_file, tmp_path, bucket) -> None:
    import fsspec

    store = fsspec.filesystem("s3")
    store.put(str(data), "bucket/photos", recursive=True)
    found = run(f"{bucket}/photos", coater_file, tmp_path / "journal", processes=2)
    one = by_one(data, coater_file)
    assert found.names == one.names
    assert found.to_dict()["images"] == one.to_dict()["images"]
    store.put_file(str(data / "2.png"), "bucket/photos/3.png")
    progress = Notes()
    run(f"{bucket}/photos", coater_file, tmp_path / "journal", progress=progress)
    assert progress.names == ["3.png"]
    tar(
        tmp_path / "a.tar",
        {f"{index}.png": (data / f"{index}.png").read_bytes() for index in (0, 1)},
    )
    store.put_file(str(tmp_path / "a.tar"), "bucket/shards/a.tar")
    shards = shards_at(f"{bucket}/shards")
    assert run(shards, coater_file, tmp_path / "other").hashes == one.hashes[:2]
    made = coat_shards(shards, Coater.load(coater_file), coater_file, f"{bucket}/coated")
    assert [entry.source for entry in made.entries] == ["a.tar/0.png", "a.tar/1.png"]
    assert {name for name in store.find("bucket/coated") if name.endswith("r")} == {
        "bucket/coated/a.tar"
    }
