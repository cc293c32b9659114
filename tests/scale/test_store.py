"""From place to place: a folder by its URL, and a local server that speaks S3."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from support.inline_engine import InlineEngine
from support.noise_files import largest_difference, noise

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.progress import Progress
from siren_ext.scale import run as module
from siren_ext.scale.processes import ProcessEngine, ProcessWorker
from siren_ext.scale.store import coat_places

fsspec = pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


class Notes(Progress):
    def __init__(self, after: int = 10**9) -> None:
        super().__init__(lambda: len(self.names) >= after)
        self.names: list[str] = []

    def advance(self, units: int = 1, note: str = "") -> None:
        self.names.append(note)
        super().advance(units, note)


def run(source: str, coater_file: Path, out: str, config: CoatConfig | None = None, **options):
    options = {"processes": 1, "batch_size": 4} | options
    return coat_places(source, Coater.load(coater_file), coater_file, out, config, **options)


@pytest.mark.slow
def test_a_bucket_gets_what_a_folder_gets(data, coater_file, tmp_path, bucket) -> None:
    fs = fsspec.filesystem("s3")
    shutil.copy(data / "1.png", data / "1.gif")  # the same stem: renamed
    (data / "sub").mkdir()
    noise(data / "sub" / "a b.png")
    fs.put(str(data), "bucket/photos", recursive=True)
    made = run(f"{bucket}/photos", coater_file, f"{bucket}/coated", processes=2)
    folder = tmp_path / "out"
    one = coat_folder(ImageSet.open(data), Coater.load(coater_file), folder, batch_size=1)
    assert [(e.source, e.output, e.output_sha256, e.notes) for e in made.entries] == [
        (e.source, e.output, e.output_sha256, e.notes) for e in one.entries
    ]
    names = [*one.files, MANIFEST_NAME]
    assert "3.txt" in names
    found = {n[len("bucket/coated/") :] for n in fs.find("bucket/coated")}
    assert {name for name in found if not name.startswith(".")} == set(names)
    for name in one.files:
        assert fs.cat_file(f"bucket/coated/{name}") == (folder / name).read_bytes()
    fs.get_file(f"bucket/coated/{MANIFEST_NAME}", str(tmp_path / "m.json"))
    assert CoatManifest.load(tmp_path / "m.json") == made
    again = Notes()
    fs.put_file(str(data / "2.png"), "bucket/photos/3.png")
    assert run(f"{bucket}/photos", coater_file, f"{bucket}/coated", progress=again).complete
    assert again.names == ["3.png"]


def test_what_is_not_coated_in_a_place_is_told(coater_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))
    source, told = tmp_path / "in", list[str]()
    (source / "mask").mkdir(parents=True)
    for name in ("fox.png", "fox-masklabel.png", "mask/fox.png"):
        noise(source / name)
    for name in ("fox.txt", "readme.txt", "metadata.jsonl", "a.dng", "b.jpg_large", "._c.png"):
        (source / name).write_text("x")
    progress = Progress()
    monkeypatch.setattr(progress, "notice", told.append)
    made = run(f"file://{source}", coater_file, f"file://{tmp_path}/out", progress=progress)
    assert [entry.output for entry in made.entries] == ["fox.png"]
    assert (tmp_path / "out" / "fox.txt").read_text() == "x"
    assert [failure.source for failure in made.failures] == ["a.dng"]
    text = "\n".join(told)
    for name in ("readme.txt", "metadata.jsonl", "b.jpg_large", "._c.png"):
        assert f"({name})" in text
    assert "2 training masks (fox-masklabel.png, mask/fox.png): left as they are." in text


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
def test_kills_and_stops_lose_nothing(data, coater_file, tmp_path, monkeypatch) -> None:
    out, engines = tmp_path / "out", []

    def engine(name: str, setup: object, processes: int) -> Killing:
        engines.append(Killing(setup))
        return engines[-1]

    monkeypatch.setattr(module, "engine_for", engine)
    first, second = Notes(after=3), Notes()
    with pytest.raises(Cancelled):
        run(f"file://{data}", coater_file, str(out), progress=first)
    assert len(engines[0].started) == 2
    assert not json.loads((out / MANIFEST_NAME).read_text())["complete"]
    monkeypatch.undo()
    made = run(f"file://{data}", coater_file, str(out), progress=second)
    assert made.complete
    assert sorted(first.names + second.names) == sorted(f"{index}.png" for index in range(12))
    one = coat_folder(ImageSet.open(data), Coater.load(coater_file), tmp_path / "one")
    assert [(e.source, e.output) for e in made.entries] == [
        (e.source, e.output) for e in one.entries
    ]
    # a small network passes several images at once, and the rest of a lost batch is fewer of them
    for entry in one.entries:
        assert largest_difference(out / entry.output, tmp_path / "one" / entry.output) <= 1


def test_lossy_formats_and_broken_images(data, coater_file, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))
    (data / "broken.png").write_bytes(b"no image")
    shutil.move(noise(data / "x.png"), data / "wrong.JPG")
    out = tmp_path / "out"
    made = run(str(data), coater_file, str(out), CoatConfig(format="keep"))
    assert {failure.source for failure in made.failures} == {"broken.png", "wrong.JPG"}
    assert "but its name ends in" in made.failures[-1].error
    made = run(str(data), coater_file, str(tmp_path / "jpeg"), CoatConfig(format="jpeg"))
    assert {Path(entry.output).suffix for entry in made.entries} == {".jpg", ".JPG"}
    assert all(entry.quality == 95 for entry in made.entries)


def test_mistakes_are_told(data, coater_file, tmp_path) -> None:
    with pytest.raises(DatasetError, match="inside"):
        run(str(data), coater_file, str(data / "out"))
    with pytest.raises(ConfigError, match="batch_size is 0"):
        run(str(data), coater_file, str(tmp_path / "out"), batch_size=0)
    with pytest.raises(ConfigError, match=r"share is 0\.5"):
        run(str(data), coater_file, str(tmp_path / "out"), CoatConfig(share=0.5))
    with pytest.raises(DatasetError, match="contains no images"):
        run(str(tmp_path / "none"), coater_file, str(tmp_path / "out"))
    noise(tmp_path / "full" / "mine.png")
    with pytest.raises(DatasetError, match=r"no earlier run wrote, such as 'mine\.png'"):
        run(str(data), coater_file, str(tmp_path / "full"))
