"""Training masks lie where the training program looks for them, with the coated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.fake_coater import FakeCoater
from support.noise_files import noise

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.layouts import training_advice
from siren_ext.coating.manifest import CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture


def mask(path: Path, value: int = 255) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((10, 12), np.uint8)
    pixels[2:5, 3:9] = value
    Image.fromarray(pixels).save(path)
    return path


def coat(folder: Path, out: Path, layout: str = "same") -> CoatManifest:
    return coat_folder(ImageSet.open(folder), FakeCoater(), out, CoatConfig(layout=layout))


def files(out: Path) -> set[str]:
    found = (path for path in out.rglob("*") if path.is_file() and "siren_" not in path.name)
    return {path.relative_to(out).as_posix() for path in found}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "a.jpg", "sub/b.png"):
        noise(tmp_path / "data" / "4_fox" / name)
    mask(tmp_path / "data" / "4_fox" / "a-masklabel.png")
    mask(tmp_path / "data" / "4_fox" / "sub" / "mask" / "b.bmp")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("layout", "masks"),
    [
        ("same", {"4_fox/a-masklabel.png", "4_fox/a_jpg-masklabel.png", "4_fox/sub/mask/b.bmp"}),
        ("kohya", {"masks/4_fox/a.png", "masks/4_fox/a_jpg.png", "masks/1_sub/b.bmp"}),
        (
            "onetrainer",
            {"4_fox/a-masklabel.png", "4_fox/a_jpg-masklabel.png", "1_sub/b-masklabel.png"},
        ),
        ("ai-toolkit", {"masks/4_fox/a.png", "masks/4_fox/a_jpg.png", "masks/1_sub/b.bmp"}),
        ("musubi", set()),
        ("imagefolder", set()),
    ],
)
def test_places(tmp_path: Path, folder: Path, layout: str, masks: set[str]) -> None:
    manifest = coat(folder, tmp_path / "out", layout)
    images = {entry.output for entry in manifest.entries}
    tables = {name for name in files(tmp_path / "out") if name.endswith(("toml", "jsonl"))}
    found = files(tmp_path / "out") - images - tables
    if layout in ("kohya", "ai-toolkit", "onetrainer"):
        masks = {name.replace("1_sub", next(iter(_words(images)))) for name in masks}
    assert found == masks
    assert set(manifest.files) >= images | masks
    for name in found:
        pixels = read_picture(tmp_path / "out" / name).rgb
        assert pixels.shape == (10, 12, 3)
        assert sorted(np.unique(pixels)) == [0, 255]
    kept = any("no place for masks" in note for entry in manifest.entries for note in entry.notes)
    assert kept == (not masks)


def _words(images: set[str]) -> set[str]:
    """The training folder of the image in the subfolder."""
    return {name.partition("/")[0] for name in images if name.endswith("b.png")}


def test_a_changed_mask_is_copied_again(tmp_path: Path, folder: Path) -> None:
    coat(folder, tmp_path / "out")
    source = mask(folder / "4_fox" / "a-masklabel.png", 128)
    coater = FakeCoater()
    coat_folder(ImageSet.open(folder), coater, tmp_path / "out", CoatConfig())
    assert coater.coated_images == 0
    copied = tmp_path / "out" / "4_fox" / "a-masklabel.png"
    assert copied.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(("kind", "why"), [("colour", "is in colour"), ("broken", "can't be read")])
def test_what_may_show_the_image_is_not_copied(tmp_path: Path, kind: str, why: str) -> None:
    noise(tmp_path / "data" / "a.png")
    noise(tmp_path / "data" / "a-masklabel.png")
    if kind == "broken":
        whole = (tmp_path / "data" / "a-masklabel.png").read_bytes()
        (tmp_path / "data" / "a-masklabel.png").write_bytes(whole[:80])
    manifest = coat(tmp_path / "data", tmp_path / "out")
    assert files(tmp_path / "out") == {"a.png"}
    assert why in manifest.entries[0].notes[0]
    assert manifest.failures == ()


def test_advice_names_the_folders_of_masks(folder: Path) -> None:
    data = ImageSet.open(folder)
    kohya = training_advice(data, Path("out"), "kohya")
    assert "conditioning_data_dir" in kohya[1]
    assert "masks/4_fox" in kohya[1]
    assert "--masked_loss" in kohya[1]
    assert "mask_path" in training_advice(data, Path("out"), "ai-toolkit")[0]
