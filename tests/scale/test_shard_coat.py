"""Shards in, shards out: content, resuming, kills, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inline_engine import InlineEngine
from support.noise_files import noise
from support.shard_files import members, parquet, samples, tar

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.progress import Progress
from siren_ext.scale import run as module
from siren_ext.scale.processes import ProcessEngine, ProcessWorker
from siren_ext.scale.shard_coat import coat_shards
from siren_ext.scale.shards import shards_at
from siren_ext.scale.store_records import FOLDER

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


class Notes(Progress):
    def __init__(self, enough: Callable[[], bool] = lambda: False) -> None:
        super().__init__(enough)
        self.names: list[str] = []
        self.told: list[str] = []

    def advance(self, units: int = 1, note: str = "") -> None:
        self.names.append(note)
        super().advance(units, note)

    def notice(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "engine_for", lambda _, setup, __: InlineEngine(setup))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four samples."""
    for number in range(3):
        tar(tmp_path / "in" / f"{number}.tar", samples(tmp_path / "pictures", 4 * number, 4))
    return tmp_path / "in"


def run(given: Path | str, coater_file: Path, out: Path | str, **options) -> CoatManifest:
    found = shards_at(given)
    assert found is not None
    options = {"batch_size": 3} | options
    return coat_shards(found, Coater.load(coater_file), coater_file, str(out), **options)


def coated(folder: Path, coater_file: Path, out: Path) -> dict[str, bytes]:
    """What a folder gets, by stem."""
    coat_folder(ImageSet.open(folder), Coater.load(coater_file), out, batch_size=1)
    return {path.stem: path.read_bytes() for path in out.glob("*.png")}


@pytest.mark.usefixtures("inline")
def test_keys_captions_names_and_order_are_kept(shards, coater_file, tmp_path) -> None:
    made = run(shards, coater_file, tmp_path / "out")
    wanted = coated(tmp_path / "pictures", coater_file, tmp_path / "folder")
    for number in range(3):
        before, after = members(shards / f"{number}.tar"), members(tmp_path / f"out/{number}.tar")
        assert list(after) == list(before)
        for name, content in after.items():
            stem, _, suffix = name.partition(".")
            assert content == (wanted[stem] if suffix == "png" else before[name])
    assert [entry.source for entry in made.entries[:2]] == ["0.tar/000.png", "0.tar/001.png"]
    assert made.complete
    assert made.failures == ()
    assert made.files == ("0.tar", "1.tar", "2.tar")
    assert CoatManifest.load(tmp_path / "out" / MANIFEST_NAME) == made
    again = Notes()
    assert run(shards, coater_file, tmp_path / "out", progress=again) == made
    assert again.names == []
    tar(shards / "1.tar", samples(tmp_path / "pictures", 4, 3))  # one less
    assert len(run(shards, coater_file, tmp_path / "out", progress=again).entries) == 11
    assert sorted(again.names) == ["1.tar/004.png", "1.tar/005.png", "1.tar/006.png"]


@pytest.mark.usefixtures("inline")
def test_new_formats_change_endings_only(coater_file, tmp_path) -> None:
    pictures = samples(tmp_path / "jpg", 0, 2, suffix=".jpg")
    mask = samples(tmp_path / "masks", 0, 1)["000.png"]
    both = {"a.b/1.jpg": pictures["000.jpg"], "a.b/1.png": mask, "a.b/1.mask.png": mask}
    tar(tmp_path / "in" / "x.tar", pictures | both)
    progress = Notes()
    made = run(tmp_path / "in" / "x.tar", coater_file, tmp_path / "out", progress=progress)
    after = members(tmp_path / "out" / "x.tar")
    assert list(after) == [
        *("000.png", "000.txt", "000.json", "001.png", "001.txt", "001.json"),
        *("a.b/1.jpg.png", "a.b/1.png", "a.b/1.mask.png"),
    ]
    assert after["a.b/1.mask.png"] == mask != after["a.b/1.png"]
    assert "Renamed" in made.entries[2].notes[0]
    assert "1 pictures were copied" in progress.told[0]
    kept = run(tmp_path / "in", coater_file, tmp_path / "keep", config=CoatConfig(format="keep"))
    assert list(members(tmp_path / "keep" / "x.tar")) == list(members(tmp_path / "in" / "x.tar"))
    assert [entry.quality for entry in kept.entries] == [95, 95, 95, None]


@pytest.mark.usefixtures("inline")
def test_bad_members_are_named_and_left_out(coater_file, tmp_path) -> None:
    good = samples(tmp_path / "pictures", 0, 2)
    evil = {"../../x.png": good["000.png"], "../../x.txt": b"x", "/etc/y.txt": b"y"}
    bad = {"broken.png": b"no image", "broken.txt": b"caption"}
    tar(tmp_path / "in" / "x.tar", good | evil | bad, links={"002.png": "/etc/passwd"})
    made = run(tmp_path / "in", coater_file, tmp_path / "out" / "deep" / "er")
    assert list(members(tmp_path / "out/deep/er/x.tar")) == list(good)
    why = {failure.source: failure.error for failure in made.failures}
    names = ("../../x.png", "../../x.txt", "/etc/y.txt", "002.png", "broken.png")
    assert set(why) == {f"x.tar/{name}" for name in names}
    assert "points outside the folder" in why["x.tar/../../x.png"]
    assert "is a link" in why["x.tar/002.png"]
    assert not [*tmp_path.rglob("x.png"), *tmp_path.rglob("x.txt")]


@pytest.mark.usefixtures("inline")
def test_originals_with_odd_endings_are_coated_too(coater_file, tmp_path) -> None:
    (content,) = (c for n, c in samples(tmp_path / "pictures", 0, 1).items() if n == "000.png")
    tar(tmp_path / "in" / "x.tar", {"0.jpg_large": content, "1": content, "2.dng": b"II*\0"})
    made = run(tmp_path / "in", coater_file, tmp_path / "out")
    after = members(tmp_path / "out" / "x.tar")
    assert list(after) == ["0.png", "1.png"]
    assert content not in after.values()
    assert "camera RAW files can't be read here" in made.failures[0].error


@pytest.mark.usefixtures("inline")
def test_a_damaged_shard_is_not_written_and_the_others_are(shards, coater_file, tmp_path) -> None:
    whole = (shards / "1.tar").read_bytes()
    header = whole.index(b"005.png")
    (shards / "1.tar").write_bytes(whole[:header] + b"\xff" * 100 + whole[header + 100 :])
    made = run(shards, coater_file, tmp_path / "out")
    assert [failure.source for failure in made.failures] == ["1.tar"]
    assert "1.tar is damaged at 004.json or after it: the next header" in made.failures[0].error
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["0.tar", "2.tar"]
    (shards / "1.tar").write_bytes(whole[: header + 600])
    made = run(shards, coater_file, tmp_path / "out")
    assert (
        "1.tar is damaged at 005.png or after it: unexpected end of data" in made.failures[0].error
    )
    (shards / "1.tar").write_bytes(whole)
    assert run(shards, coater_file, tmp_path / "out").failures == ()
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.tar").write_bytes(b"no tar file")
    with pytest.raises(DatasetError, match=r"None of 1 shards.*x\.tar is not a tar file"):
        run(tmp_path / "none", coater_file, tmp_path / "out2")


@pytest.mark.usefixtures("inline")
def test_nothing_of_others_is_replaced(shards, coater_file, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    (out / "1.tar").write_text("mine")
    with pytest.raises(DatasetError, match=r"has '1\.tar', which no earlier run"):
        run(shards, coater_file, out)
    assert sorted(path.name for path in out.iterdir()) == ["1.tar", "notes.txt"]
    with pytest.raises(DatasetError, match="choose a separate place"):
        run(shards, coater_file, shards / "out")
    with pytest.raises(DatasetError, match=r"is the folder of 0\.tar"):
        run(shards / "0.tar", coater_file, shards)
    with pytest.raises(ConfigError, match="shards are not read in advance"):
        run(shards, coater_file, tmp_path / "new", config=CoatConfig(share=0.5))
    coat_folder(ImageSet.open(tmp_path / "pictures"), Coater.load(coater_file), tmp_path / "a")
    with pytest.raises(DatasetError, match=MANIFEST_NAME):
        run(shards, coater_file, tmp_path / "a")


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize("struct", [True, False])
def test_parquet_keeps_rows_columns_and_metadata(data, coater_file, tmp_path, struct) -> None:
    arrow = pytest.importorskip("pyarrow.parquet", reason="needs the extra 'parquet'")
    (data / "3.png").write_bytes(b"no image")
    folder = tmp_path / "in"
    folder.mkdir()
    parquet(folder / "a.parquet", data, struct=struct)
    made = run(folder, coater_file, tmp_path / "out")
    assert [(f.source, len(f.error) > 10) for f in made.failures] == [
        ("a.parquet/3.png" if struct else "a.parquet/3", True)
    ]
    before = arrow.read_table(folder / "a.parquet")
    after = arrow.read_table(tmp_path / "out" / "a.parquet")
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after["number"].to_pylist() == [0, 1, 2, *range(4, 12)]
    assert after["text"].to_pylist()[3] == "caption of 4"
    (data / "3.png").unlink()
    wanted = coated(data, coater_file, tmp_path / "folder")
    images = after["image"].to_pylist()
    assert [i["bytes"] if struct else i for i in images] == [
        wanted[str(n)] for n in range(12) if n != 3
    ]
    facts = arrow.ParquetFile(tmp_path / "out" / "a.parquet").metadata
    assert facts.num_row_groups == 3
    assert facts.row_group(0).column(0).compression == "SNAPPY"


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
def test_kills_and_stops_lose_nothing(shards, coater_file, tmp_path, monkeypatch) -> None:
    out, engines = tmp_path / "out", []
    monkeypatch.setattr(
        module, "ProcessEngine", lambda setup: engines.append(Killing(setup)) or engines[-1]
    )

    def recorded() -> set[str]:
        return {path.name.removesuffix(".json") for path in (out / FOLDER).glob("*.tar.json")}

    first, second = Notes(lambda: bool(recorded())), Notes()
    with pytest.raises(Cancelled):
        run(shards, coater_file, out, progress=first)
    assert len(engines[0].started) == 2
    assert not json.loads((out / MANIFEST_NAME).read_text())["complete"]
    done = recorded()
    assert 1 <= len(done) < 3
    monkeypatch.undo()
    made = run(f"file://{shards}", coater_file, out, progress=second, processes=2)
    assert made.complete
    assert len(made.entries) == 12
    assert not {name.partition("/")[0] for name in second.names} & done
    assert not list(out.glob(".part-*"))
    one = run(shards, coater_file, tmp_path / "one")
    assert [(e.source, e.output_sha256) for e in made.entries] == [
        (e.source, e.output_sha256) for e in one.entries
    ]
    for name in made.files:
        assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.usefixtures("inline")
def test_metadata_of_an_image_is_kept(coater_file, tmp_path) -> None:
    from PIL import Image

    picture = noise(tmp_path / "a.png")
    with Image.open(picture) as image:
        exif = image.getexif()
        exif[0x8298] = "An Artist"
        image.save(picture, exif=exif, dpi=(300, 300))
    tar(tmp_path / "in" / "x.tar", {"a.png": picture.read_bytes()})
    run(tmp_path / "in", coater_file, tmp_path / "out")
    new = tmp_path / "new.png"
    new.write_bytes(members(tmp_path / "out" / "x.tar")["a.png"])
    assert read_picture(new).exif == read_picture(picture).exif
    with Image.open(new) as image:
        assert image.getexif()[0x8298] == "An Artist"
