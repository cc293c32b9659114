"""Where coated files go: names, layouts, and what is never overwritten."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.fake_coater import FakeCoater
from support.noise_files import files, noise

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig
from siren_ext.coating.outputs import left_over_words
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file


def test_equal_stems_do_not_overwrite_each_other(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    for name in ("a.jpg", "a.png", "a.bmp", "A.PNG", "a_jpg.png", "sub/a.png"):
        noise(folder / name)
    (folder / "a.txt").write_text("shared")
    manifest = coat_folder(ImageSet.open(folder), FakeCoater(), out)
    outputs = {entry.source: entry.output for entry in manifest.entries}
    assert len({name.casefold() for name in outputs.values()}) == 6
    assert outputs["sub/a.png"] == "sub/a.png"
    assert outputs["a_jpg.png"] == "a_jpg.png"
    assert "a.png" in (outputs["a.png"], outputs["A.PNG"].casefold())
    for entry in manifest.entries:
        assert sha256_file(out / entry.output) == entry.output_sha256
    for source in ("a.jpg", "a.png", "a.bmp"):
        assert (out / outputs[source]).with_suffix(".txt").read_text() == "shared"


@pytest.mark.skipif(sys.platform != "linux", reason="such names exist on Linux only")
def test_undecodable_and_multiline_names_are_written_under_safe_ones(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    noise(folder / "plain.png")
    raw = (folder / "plain.png").read_bytes()
    for name in (b"bad\xff.png", b"two\nlines.png", b"esc\x1b[31m.png", "東 京　.png".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(raw)
    manifest = coat_folder(ImageSet.open(folder), FakeCoater(), out)
    assert sorted(entry.output for entry in manifest.entries) == sorted(
        ["bad_.png", "two_lines.png", "esc_[31m.png", "東 京　.png", "plain.png"]
    )
    coater = FakeCoater()
    coat_folder(ImageSet.open(folder), coater, out)
    assert coater.coated_images == 0


def test_kohya_layout_is_what_sd_scripts_reads(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    noise(folder / "4_red fox" / "a.png", size=(64, 128))
    noise(folder / "x" / "c.png", size=(64, 128))
    noise(folder / "y" / "c.png", size=(64, 128))
    (folder / "4_red fox" / "a.caption").write_text("a fox")
    (folder / "captions.tsv").write_text("x/c.png\ta thing\n")
    source = ImageSet.open(folder)
    config = CoatConfig(layout="kohya")
    manifest = coat_folder(source, FakeCoater(), out, config)
    visible = {name for name in files(out) if not name.startswith(".")}
    assert visible == {
        "4_red fox/a.png",
        "4_red fox/a.caption",
        "4_red fox/a.txt",
        "1_data/c.png",
        "1_data/c.txt",
        "1_data/c_png.png",
        "dataset.toml",
        MANIFEST_NAME,
    }
    text = (out / "dataset.toml").read_text()
    assert "enable_bucket = false" in text
    assert str(tmp_path) not in text
    for back in (ImageSet.open(out), ImageSet.open(out / "dataset.toml")):
        found = {i.name: (i.repeats, i.class_words, i.caption) for i in back.items}
        assert found == {
            "4_red fox/a.png": (4, "red fox", "a fox"),
            "1_data/c.png": (1, "data", "a thing"),
            "1_data/c_png.png": (1, "data", None),
        }
    assert [
        int(v) for v in text.split("resolution = [")[1].split("]")[0].split(",") if v.strip()
    ] == [64, 128]
    assert coat_folder(source, FakeCoater(), out, config) == manifest


@pytest.mark.parametrize("where", [".", "inside", "..", "../data/../data"])
def test_an_output_folder_that_overlaps_the_data_is_refused(data, where):
    before = files(data.parent)
    with pytest.raises(DatasetError, match="separate"):
        coat_folder(ImageSet.open(data), FakeCoater(), data / where)
    assert files(data.parent) == before


def test_a_broken_link_is_named(data, tmp_path):
    (tmp_path / "alias").symlink_to(tmp_path / "gone")
    with pytest.raises(DatasetError, match="alias is a broken link; expected a folder"):
        coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / "alias")


def test_a_link_to_the_data_folder_is_seen_through(data, tmp_path):
    (tmp_path / "alias").symlink_to(data)
    with pytest.raises(DatasetError, match="separate"):
        coat_folder(ImageSet.open(data), FakeCoater(), tmp_path / "alias")


@pytest.mark.parametrize("name", ["3.png", "3.txt"])
def test_files_of_others_are_never_overwritten(data, tmp_path, name):
    (data / "3.txt").write_text("a caption")
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("somebody else's")
    with pytest.raises(DatasetError, match="files that no earlier run wrote"):
        coat_folder(ImageSet.open(data), FakeCoater(), out)
    assert list(files(out)) == [name]


def test_what_earlier_runs_left_is_told(tmp_path):
    folder, out = tmp_path / "data", tmp_path / "out"
    for number in range(3):
        noise(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a fox")

    def words(layout: str = "same") -> str:
        data = ImageSet.open(folder)
        return left_over_words(
            coat_folder(data, FakeCoater(), out, CoatConfig(layout=layout)), data, out
        )

    assert words() == words() == ""
    for name in ("1.png", "1.txt", "2.txt"):
        (folder / name).unlink()
    assert "still contains 3 files from earlier runs (1.png, 1.txt, 2.txt)" in words()
    for name in ("1.png", "1.txt", "2.txt"):
        (out / name).unlink()
    assert words() == ""
    assert "3 files from earlier runs (0.png, 0.txt, 2.png)" in words("kohya")
