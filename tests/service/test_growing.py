"""A growing output folder: names, resuming, what it refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.fake_coater import FakeCoater
from support.noise_files import noise

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.journal import JOURNAL_NAME
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import CoaterError, ConfigError, DatasetError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.service.growing import FullDiskError, GrowingFolder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("1.png", "2.png", "10.png"):
        noise(folder / name, size=(20, 16))
    (folder / "1.txt").write_text("a fox")
    return folder


def grown(source: Path, coater: Any = None, **settings: Any) -> GrowingFolder:
    coater = coater or FakeCoater()
    return GrowingFolder(source, coater, source.parent / "out", CoatConfig(**settings))


def add_all(folder: GrowingFolder) -> list[str]:
    entries = [folder.add(item) for item in ImageSet.open(folder.root).items]
    return [entry.source for entry in entries if entry is not None]


def test_the_result_is_that_of_coat(source: Path, tmp_path: Path) -> None:
    whole = coat_folder(ImageSet.open(source), FakeCoater(), tmp_path / "whole", CoatConfig())
    folder = grown(source)
    assert add_all(folder) == ["1.png", "2.png", "10.png"]
    manifest = folder.save(complete=True)
    assert manifest == whole == CoatManifest.load(tmp_path / "out" / MANIFEST_NAME)
    for name in manifest.files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # and coat has nothing left to do in the folder
    coater = FakeCoater()
    assert coat_folder(ImageSet.open(source), coater, tmp_path / "out", CoatConfig()) == whole
    assert coater.coated_images == 0


@pytest.mark.parametrize("stopped", ["killed", "saved"])
def test_nothing_is_coated_twice(source: Path, stopped: str) -> None:
    folder = grown(source)
    folder.add(ImageSet.open(source).items[0])
    if stopped == "saved":
        folder.save(complete=False)
    again, coater = None, FakeCoater()
    again = grown(source, coater)
    assert add_all(again) == ["2.png", "10.png"]
    assert coater.coated_images == 2
    assert add_all(again) == []
    noise(source / "2.png", size=(20, 16))
    assert add_all(again) == ["2.png"]
    (source.parent / "out" / "10.png").unlink()
    assert add_all(again) == ["10.png"]


def test_a_caption_that_changes_is_copied_without_coating(source: Path) -> None:
    folder = grown(source)
    add_all(folder)
    (source / "1.txt").write_text("a red fox")
    assert add_all(folder) == []
    assert (source.parent / "out" / "1.txt").read_text() == "a red fox"


def test_names_stay_whatever_comes_later(source: Path) -> None:
    """``coat`` would give the name to b.bmp, which comes first in its order."""
    Image.new("RGB", (20, 16), "red").save(source / "b.jpg")
    folder = grown(source)
    add_all(folder)
    for name in ("b.bmp", "b.tga", "b.gif"):
        Image.new("RGB", (20, 16), (name[2:] == "bmp" and "blue") or "green").save(source / name)
    assert sorted(add_all(folder)) == ["b.bmp", "b.gif", "b.tga"]
    folder.save(complete=True)
    again = grown(source)
    assert add_all(again) == []
    entries = again.save(complete=True).entries
    names = {entry.source: entry.output for entry in entries if entry.source.startswith("b")}
    assert names == {
        "b.jpg": "b.png",
        "b.bmp": "b_bmp.png",
        "b.gif": "b_gif.png",
        "b.tga": "b_tga.png",
    }
    notes = {entry.source: "Renamed" in " ".join(entry.notes) for entry in entries}
    assert [notes["b.jpg"], notes["b.bmp"]] == [False, True]


def test_an_image_stays_recorded_when_its_source_is_gone(source: Path) -> None:
    folder = grown(source)
    add_all(folder)
    folder.save(complete=True)
    (source / "2.png").unlink()
    (source / "10.png").unlink()
    (source.parent / "out" / "10.png").unlink()
    again = grown(source)
    add_all(again)
    assert [entry.source for entry in again.save(complete=True).entries] == ["1.png", "2.png"]


def test_a_bad_file_does_not_stop_the_others(source: Path) -> None:
    (source / "3.png").write_text("this is a text")
    whole = (source / "1.png").read_bytes()
    (source / "4.png").write_bytes(whole[: len(whole) // 2])
    noise(source / "5.png", size=(20, 3))
    folder = grown(source)
    assert add_all(folder) == ["1.png", "2.png", "10.png"]
    assert list(folder.failures) == ["3.png", "4.png", "5.png"]
    noise(source / "4.png", size=(20, 16))
    assert add_all(folder) == ["4.png"]
    assert [one.source for one in folder.save(complete=True).failures] == ["3.png", "5.png"]


def test_a_file_of_somebody_else_is_kept(source: Path) -> None:
    folder = grown(source)
    foreign = source.parent / "out" / "2.png"
    foreign.write_text("not ours")
    assert add_all(folder) == ["1.png", "10.png"]
    assert "no earlier run wrote" in folder.failures["2.png"]
    assert foreign.read_text() == "not ours"


def test_a_full_disk_is_told_apart_and_continued(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = grown(source)
    first, *others = ImageSet.open(source).items
    folder.add(first)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.data.images.save_png", full)
        with pytest.raises(FullDiskError, match=r"No space left.*1 images are finished"):
            folder.add(others[0])
    journal = source.parent / "out" / JOURNAL_NAME
    journal.write_text(journal.read_text() + '{"source": "2.png", "out')  # what a full disk leaves
    folder.resume()
    assert add_all(folder) == ["2.png", "10.png"]
    assert add_all(grown(source)) == []


def test_what_can_not_be_used_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"share is 0\.5; expected 1"):
        grown(source, share=0.5)
    with pytest.raises(ConfigError, match=r"layout is 'kohya'; expected 'plain'"):
        grown(source, layout="kohya")
    with pytest.raises(CoaterError, match="expected no key"):
        GrowingFolder(source, FakeCoater(), tmp_path / "out", CoatConfig(), CoatingKey.draw(8))  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="inside the data folder"):
        GrowingFolder(source, FakeCoater(), source / "out", CoatConfig())  # type: ignore[arg-type]
    noise(tmp_path / "other" / "a.png")
    with pytest.raises(DatasetError, match="no earlier run wrote"):
        GrowingFolder(source, FakeCoater(), tmp_path / "other", CoatConfig())  # type: ignore[arg-type]


def test_copies_of_other_images_are_not_overwritten(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    coat_folder(ImageSet.open(source), FakeCoater(), out)

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    def into(folder: Path) -> list[str]:
        return add_all(GrowingFolder(folder, FakeCoater(), out, CoatConfig()))  # type: ignore[arg-type]

    before, other = files(), tmp_path / "camera"
    for name in ("1.png", "10.png"):
        noise(other / name, size=(28, 22))
        os.utime(other / name, (0, 0))
    with pytest.raises(DatasetError, match=r"has coated copies of other images, such as '1\.png'"):
        into(other)
    assert files() == before
    # one image that is known makes it the same set
    (other / "2.png").write_bytes((source / "2.png").read_bytes())
    assert into(other) == ["1.png", "10.png"]


def test_new_names_types_and_changed_images_are_none_of_other_images(
    source: Path, tmp_path: Path
) -> None:
    folder = grown(source)
    add_all(folder)
    folder.save(complete=True)
    for name in ("1.png", "1.txt", "2.png", "10.png"):
        (source / name).unlink()
    noise(source / "new.png")
    Image.new("RGB", (24, 20), "red").save(source / "2.jpg")
    folder = grown(source)
    assert add_all(folder) == ["2.jpg", "new.png"]
    names = {entry.source: entry.output for entry in folder.save(complete=True).entries}
    assert names["2.jpg"] == "2_jpg.png"
    for name in ("2.jpg", "new.png"):
        (source / name).unlink()
    since = (tmp_path / "out" / MANIFEST_NAME).stat().st_mtime + 5
    noise(source / "10.png", size=(28, 22))  # drawn again while nobody watched
    os.utime(source / "10.png", (since, since))
    assert add_all(grown(source)) == ["10.png"]
