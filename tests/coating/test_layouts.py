"""Layouts of training programs: what each of them finds in the written folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.fake_coater import FakeCoater
from support.noise_files import files, noise
from support.stopping import StopInStage

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.layouts import training_advice
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.coating.outputs import RENAMED
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LAYOUTS = ("plain", "same", "kohya", "imagefolder", "onetrainer", "ai-toolkit", "musubi")


@pytest.fixture
def pets(tmp_path: Path) -> ImageSet:
    """Two kohya folders and a loose one, with every kind of caption."""
    folder = tmp_path / "pets"
    noise(folder / "4_red fox" / "a.png", size=(64, 128))
    noise(folder / "4_red fox" / "b.png", size=(64, 128))
    noise(folder / "x" / "c.png", size=(64, 128))
    noise(folder / "y" / "c.png", size=(64, 128))
    (folder / "4_red fox" / "a.caption").write_text("a fox\nin snow\n")
    (folder / "captions.tsv").write_text("x/c.png\tein Käfer, “blue”\n", encoding="utf-8")
    return ImageSet.open(folder)


def coated(data: ImageSet, out: Path, layout: str) -> CoatManifest:
    return coat_folder(data, FakeCoater(), out, CoatConfig(layout=layout))


def names(out: Path) -> set[str]:
    return set(files(out)) - {MANIFEST_NAME}


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_same_keeps_folders_and_caption_files(pets: ImageSet, tmp_path: Path) -> None:
    expected = {
        "4_red fox/a.png", "4_red fox/a.caption", "4_red fox/b.png",
        "x/c.png", "x/c.txt", "y/c.png",
    }  # fmt: skip
    for layout in ("plain", "same"):
        coated(pets, tmp_path / layout, layout)
        assert names(tmp_path / layout) == expected


def test_imagefolder_lists_captions_beside_the_images_only(pets: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    coated(pets, out, "imagefolder")
    assert names(out) == {
        "train/4_red fox/a.png", "train/4_red fox/b.png", "train/x/c.png", "train/y/c.png",
        "train/metadata.jsonl",
    }  # fmt: skip
    assert rows(out / "train" / "metadata.jsonl") == [
        {"file_name": "4_red fox/a.png", "text": "a fox\nin snow"},
        {"file_name": "4_red fox/b.png", "text": "red fox"},
        {"file_name": "x/c.png", "text": "ein Käfer, “blue”"},
        {"file_name": "y/c.png", "text": ""},
    ]


def test_musubi_lists_every_image_by_its_repeats(pets: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    coated(pets, out, "musubi")
    text = (out / "dataset.toml").read_text()
    assert "start its scripts from this folder" in text
    assert str(tmp_path) not in text
    table = tomllib.loads(text)
    allowed = {"resolution", "batch_size", "enable_bucket", "bucket_no_upscale"}
    assert set(table["general"]) == allowed  # shuffle_caption is refused
    assert table["general"]["resolution"] == [64, 128]
    assert table["datasets"] == [
        {
            "image_jsonl_file": f"metadata_{repeats}.jsonl",
            "cache_directory": f"cache/metadata_{repeats}",
            "num_repeats": repeats,
        }
        for repeats in (1, 4)
    ]
    assert rows(out / "metadata_4.jsonl") == [
        {"image_path": "4_red fox/a.png", "caption": "a fox\nin snow"},
        {"image_path": "4_red fox/b.png", "caption": "red fox"},
    ]
    listed = [*rows(out / "metadata_1.jsonl"), *rows(out / "metadata_4.jsonl")]
    assert {row["image_path"] for row in listed} == {
        name for name in names(out) if name.endswith(".png")
    }
    assert (out / "x" / "c.txt").read_text(encoding="utf-8") == "ein Käfer, “blue”\n"


def test_musubi_has_one_list_if_all_repeats_are_equal(data: Path, tmp_path: Path) -> None:
    coated(ImageSet.open(data), tmp_path / "out", "musubi")
    assert len(rows(tmp_path / "out" / "metadata.jsonl")) == 10
    table = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    assert [one["num_repeats"] for one in table["datasets"]] == [1]


def test_onetrainer_gets_each_caption_on_one_line(pets: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    coated(pets, out, "onetrainer")
    assert names(out) == {
        "4_red fox/a.png", "4_red fox/a.txt", "4_red fox/b.png",
        "1_pets/c.png", "1_pets/c.txt", "1_pets/c_png.png",
    }  # fmt: skip
    assert (out / "4_red fox" / "a.txt").read_text() == "a fox in snow\n"


def test_ai_toolkit_gets_txt_files(pets: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    coated(pets, out, "ai-toolkit")
    assert names(out) == {
        "4_red fox/a.png", "4_red fox/a.txt", "4_red fox/b.png",
        "1_pets/c.png", "1_pets/c.txt", "1_pets/c_png.png",
    }  # fmt: skip
    assert (out / "4_red fox" / "a.txt").read_text() == "a fox\nin snow\n"


def test_a_collision_is_resolved_and_reported(pets: ImageSet, tmp_path: Path) -> None:
    manifest = coated(pets, tmp_path / "out", "kohya")
    notes = {entry.source: (entry.output, entry.notes) for entry in manifest.entries}
    assert notes["x/c.png"] == ("1_pets/c.png", ())
    assert notes["y/c.png"] == ("1_pets/c_png.png", (RENAMED,))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_second_call_does_nothing_and_new_captions_arrive(
    pets: ImageSet, tmp_path: Path, layout: str
) -> None:
    out, coater, config = tmp_path / "out", FakeCoater(), CoatConfig(layout=layout)
    first = coated(pets, out, layout)
    before = {name: (out / name).read_bytes() for name in names(out)}
    assert coat_folder(pets, coater, out, config) == first
    assert {name: (out / name).read_bytes() for name in names(out)} == before
    (pets.root / "y" / "c.txt").write_text("a new caption")
    coat_folder(ImageSet.open(pets.root), coater, out, config)
    assert coater.coated_images == 0
    texts = [(out / name).read_text(encoding="utf-8") for name in names(out) if "png" not in name]
    assert any("a new caption" in text for text in texts) or (
        "a new caption" in (out / "1_pets" / "c_png.txt").read_text()
    )


@pytest.mark.parametrize("layout", ["imagefolder", "musubi"])
def test_after_a_stop_only_finished_images_are_listed(
    data: Path, tmp_path: Path, layout: str
) -> None:
    out, config = tmp_path / "out", CoatConfig(layout=layout)
    with pytest.raises(Cancelled):
        coat_folder(
            ImageSet.open(data),
            FakeCoater(),
            out,
            config,
            batch_size=1,
            progress=StopInStage("Coating", 3),
        )
    (table,) = out.rglob("metadata.jsonl")
    listed = [row.get("file_name") or row["image_path"] for row in rows(table)]
    assert 3 <= len(listed) < 10
    assert all((table.parent / name).is_file() for name in listed)
    assert coat_folder(ImageSet.open(data), FakeCoater(), out, config).complete
    assert len(rows(table)) == 10


def test_advice_works_from_every_folder(pets: ImageSet, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = str(tmp_path / "my set")
    advice = {layout: training_advice(pets, Path("my set"), layout) for layout in LAYOUTS}
    assert advice["plain"] == advice["same"] == []
    assert advice["kohya"] == [
        f"For sd-scripts: --train_data_dir '{where}' --caption_extension .txt"
    ]
    assert advice["musubi"] == [
        f"For musubi-tuner: cd '{where}', then --dataset_config dataset.toml"
    ]
    assert where in advice["imagefolder"][0]
    for layout in ("onetrainer", "ai-toolkit"):
        assert len(advice[layout]) == 2
        assert str(tmp_path / "my set" / "4_red fox") in advice[layout][0]
        assert "4" in advice[layout][0].split("repeats")[0 if layout == "onetrainer" else 1]


def test_the_header_of_kohyas_file_names_its_traps(pets: ImageSet, tmp_path: Path) -> None:
    coated(pets, tmp_path / "out", "kohya")
    text = (tmp_path / "out" / "dataset.toml").read_text()
    assert "--caption_extension .txt" in text
    assert "start sd-scripts in this folder" in text
    assert "--layout musubi" in text


def test_kohya_gets_captions_in_utf8_without_a_mark(tmp_path: Path) -> None:
    noise(tmp_path / "in" / "a.png")
    caption = tmp_path / "in" / "a.txt"
    caption.write_bytes("ein Käfer\r\n".encode("utf-8-sig"))
    data = ImageSet.open(tmp_path / "in")
    for layout, expected in {"kohya": "ein Käfer\n".encode(), "same": caption.read_bytes()}.items():
        coated(data, tmp_path / layout, layout)
        (written,) = (tmp_path / layout).rglob("a.txt")
        assert written.read_bytes() == expected


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_training_programs_get_captions_of_old_programs_in_utf8(
    tmp_path: Path, encoding: str
) -> None:
    noise(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.txt").write_bytes("the café was “open”, été".encode(encoding))
    data = ImageSet.open(tmp_path / "in")
    for layout in set(LAYOUTS) - {"plain", "same", "imagefolder"}:
        coated(data, tmp_path / layout, layout)
        (written,) = (tmp_path / layout).rglob("a.txt")
        assert written.read_bytes() == "the café was “open”, été\n".encode()


@pytest.mark.parametrize("content", [b"  \n", b"", b"\xff\xfe\0", b"\0\1\2"])
@pytest.mark.parametrize("source", ["a.caption", "metadata.csv"])
def test_a_caption_file_without_text_does_not_hide_the_caption(
    tmp_path: Path, content: bytes, source: str
) -> None:
    noise(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.txt").write_bytes(content)
    table = "file_name,text\na.png,a red fox\n" if source == "metadata.csv" else "a red fox"
    (tmp_path / "in" / source).write_text(table)
    data = ImageSet.open(tmp_path / "in")
    for layout in LAYOUTS:
        coated(data, tmp_path / layout, layout)
        (back,) = ImageSet.open(tmp_path / layout).items
        assert back.caption == "a red fox", layout
    (written,) = (tmp_path / "kohya").rglob("a.txt")
    assert written.read_bytes() == b"a red fox\n"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_again_with_captions_and_repeats(
    pets: ImageSet, tmp_path: Path, layout: str
) -> None:
    manifest = coated(pets, tmp_path / "out", layout)
    outputs = {entry.source: entry.output for entry in manifest.entries}
    found = {item.name: item for item in ImageSet.open(tmp_path / "out").items}
    assert set(found) == set(outputs.values())
    for item in pets.items:
        back = found[outputs[item.name]]
        assert back.repeats == item.repeats
        if item.caption is not None:
            assert back.caption.split() == item.caption.split()
