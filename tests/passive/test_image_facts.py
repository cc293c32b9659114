"""Checks of the two sets before any model is loaded: numbers, copies, sizes, captions, origin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.owned_sets import owned_sets, picture

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, DatasetError
from siren_ext.passive.image_facts import ImageFacts, balanced, check_sets, read_facts
from siren_ext.progress import Progress


def facts(*folders: Path) -> list[ImageFacts]:
    return [read_facts(ImageSet.open(folder)) for folder in folders]


def checked(*folders: Path, captions: bool = True) -> tuple[str, ...]:
    published, unpublished = facts(*folders)
    return check_sets(published, unpublished, captions=captions)


def caption(folder: Path, text: str, count: int = 20) -> None:
    for index in range(count):
        (folder / f"{index}.txt").write_text(text)


def test_facts_are_those_of_the_files(tmp_path: Path) -> None:
    published, _ = owned_sets(tmp_path)
    caption(published, "a small house", 3)
    (found,) = facts(published)
    assert len(found) == 20
    assert found.sizes == ((40, 36),) * 20
    assert found.formats == ("PNG",) * 20
    assert sorted(found.words) == [0] * 17 + [3] * 3
    assert found.generated == ()
    assert found.looks.shape == (20, 8)
    assert np.allclose((found.thumbnails**2).sum(axis=1), 1)


def test_sets_of_one_hand_pass_with_a_note_on_their_number(tmp_path: Path) -> None:
    (note,) = checked(*owned_sets(tmp_path))
    assert note == "Only 20 images per set. Use 50 or more, or training may be missed."


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match="19 published and 19 unpublished images; expected at least 20"
    ):
        checked(*owned_sets(tmp_path, 19))


@pytest.mark.parametrize("change", ["same file", "compressed", "smaller", "lighter"])
def test_images_of_both_sets_are_refused(tmp_path: Path, change: str) -> None:
    published, unpublished = owned_sets(tmp_path, size=(96, 90))
    copy = Image.open(published / "4.png")
    if change == "same file":
        (unpublished / "copy.png").write_bytes((published / "4.png").read_bytes())
    elif change == "compressed":
        copy.save(unpublished / "copy.jpg", quality=60)
    elif change == "smaller":
        copy.resize((48, 45)).save(unpublished / "copy.png")
    else:
        Image.eval(copy, lambda value: min(255, int(value * 1.1))).save(unpublished / "copy.png")
    with pytest.raises(
        DatasetError, match=r"1 image is in both .*: 4.png and copy\.(png|jpg)\. Take"
    ):
        checked(published, unpublished)


def test_copies_within_a_set_are_refused(tmp_path: Path) -> None:
    published, unpublished = owned_sets(tmp_path)
    picture(1003).save(unpublished / "again.png")
    with pytest.raises(DatasetError, match="1 pair of unpublished images are copies"):
        checked(published, unpublished)


def test_other_sizes_and_shapes_are_refused(tmp_path: Path) -> None:
    published, _ = owned_sets(tmp_path / "a")
    _, large = owned_sets(tmp_path / "b", size=(80, 72))
    _, wide = owned_sets(tmp_path / "c", size=(80, 36))
    with pytest.raises(
        DatasetError, match=r"short side .* has 36 pixels .* ones 72; expected the same"
    ):
        checked(published, large)
    with pytest.raises(DatasetError, match=r"1\.11 times as wide as they are high .* 2\.22 times"):
        checked(published, wide)


def test_other_captions_are_refused_unless_none_are_used(tmp_path: Path) -> None:
    published, unpublished = owned_sets(tmp_path)
    caption(published, "a house")
    with pytest.raises(DatasetError, match="100% of the published and 0% of the unpublished"):
        checked(published, unpublished)
    assert len(checked(published, unpublished, captions=False)) == 1
    caption(unpublished, "a house with a garden and trees")
    with pytest.raises(DatasetError, match=r"have 2 words \(median\), .* 7; expected"):
        checked(published, unpublished)
    caption(unpublished, "a tree")
    assert len(checked(published, unpublished)) == 1


def test_other_file_formats_are_noted(tmp_path: Path) -> None:
    published, unpublished = owned_sets(tmp_path)
    for file in published.iterdir():
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    assert "Most published images are JPEG files" in checked(published, unpublished)[1]


def test_pictures_that_say_a_model_made_them_are_noted(tmp_path: Path) -> None:
    published, unpublished = owned_sets(tmp_path)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a")
    picture(0).save(published / "0.png", pnginfo=info)
    exif = Image.Exif()
    exif[0x010E] = "Steps: 30, Sampler: DPM++"
    picture(1).save(published / "1.png", exif=exif)
    picture(1000).save(unpublished / "0.png", pnginfo=info)
    notes = checked(published, unpublished)
    assert notes[1].startswith(
        "2 published images were made by a model, according to the metadata or the name"
    )
    assert "(0.png, 1.png). A model's own output passes for its training images" in notes[1]
    assert notes[2].startswith("1 unpublished image was made by a model")


@pytest.mark.parametrize(
    ("name", "generated"),
    [
        ("ComfyUI_00012_.png", True),
        ("00012-3141592653.png", True),
        ("someone_a_fox_0a1b2c3d-1234-5678-9abc-0123456789ab_2.png", True),
        ("Firefly 20240102.png", True),
        ("IMG_00012.png", False),
        ("20240102-123456.png", False),
        ("00012.png", False),
        ("comfy chair.png", False),
        ("firefly.png", False),
    ],
)
def test_names_that_generators_give_are_noted(tmp_path: Path, name: str, generated: bool) -> None:
    picture(1).save(tmp_path / name)
    (found,) = facts(tmp_path)
    assert found.generated == ((name,) if generated else ())


def test_larger_sets_lose_images_whatever_they_are_called(tmp_path: Path) -> None:
    published, unpublished = (ImageSet.open(folder) for folder in owned_sets(tmp_path, 8, others=5))
    first, second, text = balanced(published, unpublished)
    assert (len(first), len(second)) == (5, 5)
    assert second is unpublished
    kept = first.hash
    assert text.startswith("There are 8 published and 5 unpublished images; 3 of the published")
    for item in published.items:
        item.path.rename(item.path.with_name(f"x{item.path.name}"))
    again, _, _ = balanced(ImageSet.open(published.root), unpublished)
    assert again.hash == kept
    assert balanced(again, second)[2] == ""


def test_the_user_can_stop_it(tmp_path: Path) -> None:
    published, _ = owned_sets(tmp_path)
    with pytest.raises(Cancelled):
        read_facts(ImageSet.open(published), progress=Progress(cancelled=lambda: True))
