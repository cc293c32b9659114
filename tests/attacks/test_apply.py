"""Handling by name, of a batch and of a folder."""

from __future__ import annotations

import errno
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.noise_files import files, noise
from support.stopping import StopAfter

from siren_ext.attacks import apply
from siren_ext.attacks.apply import (
    CAPTIONS,
    PICTURES,
    RECORD,
    Step,
    handle,
    handle_folder,
    steps_of,
)
from siren_ext.attacks.codecs import jpeg
from siren_ext.attacks.uncoat import Uncoater
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.data.kohya import Subset, write_dataset_toml
from siren_ext.errors import Cancelled, ConfigError, DatasetError, ImageError

STEPS = (Step("crop", {"keep_size": False}), Step("mirror"), Step("jpeg", {"quality": 70}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures of three kinds, two of them with captions, in a kohya folder and beside it."""
    root = tmp_path / "data"
    for name in ("3_a cat/one.png", "3_a cat/two.jpg", "three.webp", "four.png"):
        noise(root / name, (40, 30))
    (root / "3_a cat" / "one.txt").write_text("one cat\n")
    (root / "three.caption").write_text("three")
    return root


def texts(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text().strip()
        for path in root.rglob("*")
        if path.suffix in (".txt", ".caption")
    }


def pixels(data: ImageSet) -> list[torch.Tensor]:
    return [to_tensor(read_picture(item.path).rgb) for item in data.items]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- batches --------------------------------------------------------------------------------


def test_every_function_is_called_alike() -> None:
    for name, function in (PICTURES | CAPTIONS).items():
        first, second, *settings = inspect.signature(function).parameters.values()
        assert first.name == ("captions" if name in CAPTIONS else "images")
        assert second.name == "generator"
        assert all(one.kind is one.KEYWORD_ONLY for one in settings)
        assert all(one.default is not one.empty for one in settings)


def test_steps_are_applied_in_order_with_one_generator() -> None:
    images = torch.rand(3, 3, 20, 24, generator=draws(1))
    steps = (
        Step("mirror"),
        Step("replace-captions", {"texts": ("x", "y")}),
        Step("crop", {"high": 0.9}),
        Step("drop-captions", {"rate": 0.5}),
    )
    found, words = handle(images, ["a", "b", "c"], steps, draws(2))
    generator = draws(2)
    expected = PICTURES["mirror"](images, generator)
    captions = CAPTIONS["replace-captions"](["a", "b", "c"], generator, texts=("x", "y"))
    expected = PICTURES["crop"](expected, generator, high=0.9)
    captions = CAPTIONS["drop-captions"](captions, generator, rate=0.5)
    assert torch.equal(found, expected)
    assert words == captions


def test_draws_go_on_from_batch_to_batch() -> None:
    images = torch.rand(2, 3, 20, 24)
    generator = draws()
    first, second = (handle(images, ["", ""], [Step("crop")], generator)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_no_steps_change_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    found, words = handle(images, ("a", ""), (), draws())
    assert torch.equal(found, images)
    assert words == ["a", ""]


def test_each_image_needs_a_caption() -> None:
    with pytest.raises(ImageError, match="1 captions for 2 images"):
        handle(torch.rand(2, 3, 8, 8), ["a"], (), draws())


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (
            "smear",
            {},
            (
                "'smear' is not a change that can be made to images; expected one of "
                "centre-crop, hue, jpeg,"
            ),
        ),
        ("jpeg", {"factor": 1}, "jpeg has no setting 'factor'; expected one of chroma, quality"),
        ("jpeg", {"generator": None}, "jpeg has no setting 'generator'"),
    ],
)
def test_unknown_names(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Step(name, settings)


# -- folders --------------------------------------------------------------------------------


def test_a_folder_keeps_names_captions_repeats_and_words(folder: Path, tmp_path: Path) -> None:
    data = ImageSet.from_folder(folder)
    before = files(folder)
    found = handle_folder(data, tmp_path / "out", STEPS, seed=5)
    assert files(folder) == before
    assert [item.relative.as_posix() for item in found.items] == [
        item.relative.with_suffix(".png").as_posix() for item in data.items
    ]
    assert texts(tmp_path / "out") == texts(folder)
    for old, new in zip(data.items, found.items, strict=True):
        assert (old.caption, old.repeats, old.class_words) == (
            new.caption,
            new.repeats,
            new.class_words,
        )
    assert found.problems == ()
    opened = ImageSet.from_folder(tmp_path / "out")
    assert {item.path for item in opened.items} == {item.path for item in found.items}


def test_words_and_repeats_of_a_dataset_toml_are_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    photos = folder.rename(tmp_path / "sets" / "photos")
    for caption in photos.rglob("*.txt"):
        caption.unlink()
    toml = tmp_path / "sets" / "dataset.toml"
    write_dataset_toml(toml, [Subset("photos", "a cat", 5)])
    data = ImageSet.open(toml)
    for _ in "ab":  # resumed as well
        made = handle_folder(data, tmp_path / "out", [Step("jpeg")])
        again = ImageSet.open(tmp_path / "out" / "dataset.toml")
        for found in (made, again):
            assert {(one.class_words, one.repeats) for one in found.items} == {("a cat", 5)}
        assert again.hash == made.hash


def test_a_dataset_toml_finds_captions_of_another_ending(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    photos = folder.rename(tmp_path / "sets" / "photos")
    for caption in photos.rglob("*.txt"):
        caption.rename(caption.with_suffix(".caption"))
    toml = tmp_path / "sets" / "dataset.toml"
    write_dataset_toml(toml, [Subset("photos", "a cat", 5)], caption_suffix=".caption")
    data = ImageSet.open(toml)
    handle_folder(data, tmp_path / "out", [Step("jpeg")])
    again = ImageSet.open(tmp_path / "out" / "dataset.toml")
    assert any(item.caption for item in data.items)
    assert [item.caption for item in again.items] == [item.caption for item in data.items]


def test_written_pixels_are_those_of_the_steps(folder: Path, tmp_path: Path) -> None:
    data = ImageSet.from_folder(folder)
    found = handle_folder(data, tmp_path / "out", [Step("jpeg", {"quality": 40})])
    for before, after in zip(pixels(data), pixels(found), strict=True):
        assert torch.equal(after, jpeg(before, quality=40))


def test_images_depend_on_seed_and_name_alone(folder: Path, tmp_path: Path) -> None:
    data = ImageSet.from_folder(folder)
    first = pixels(handle_folder(data, tmp_path / "first", STEPS, seed=1))
    again = pixels(handle_folder(data, tmp_path / "again", STEPS, seed=1))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    (folder / "four.png").unlink()
    fewer = ImageSet.from_folder(folder)
    some = pixels(handle_folder(fewer, tmp_path / "fewer", STEPS, seed=1))
    names = [item.name for item in data.items]
    for item, image in zip(fewer.items, some, strict=True):
        assert torch.equal(image, first[names.index(item.name)])
    noise(folder / "four.png", (40, 30))
    other = pixels(handle_folder(data, tmp_path / "other", STEPS, seed=2))
    sizes = [[image.shape for image in images[:3]] for images in (first, other)]
    assert sizes[0] != sizes[1]


def test_captions_that_steps_change(folder: Path, tmp_path: Path) -> None:
    data = ImageSet.from_folder(folder)
    replaced = handle_folder(data, tmp_path / "new", [Step("replace-captions")])
    assert [item.caption for item in replaced.items] == ["an image"] * 4
    assert set(texts(tmp_path / "new")) == {
        "3_a cat/one.txt", "3_a cat/two.txt", "three.txt", "four.txt",
    }  # fmt: skip
    dropped = handle_folder(data, tmp_path / "none", [Step("drop-captions", {"rate": 1})])
    assert [item.caption for item in dropped.items] == [None] * 4
    assert texts(tmp_path / "none") == {}


def test_images_of_one_name_both_stay(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        noise(tmp_path / "data" / name)
    found = handle_folder(ImageSet.from_folder(tmp_path / "data"), tmp_path / "out", ())
    assert sorted(item.name for item in found.items) == ["a.png", "a_jpg.png"]


def test_transparency_and_metadata_are_lost(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    exif = Image.Exif()
    exif[0x010E] = "words"
    noise_image = Image.open(noise(tmp_path / "any.png", mode="RGBA"))
    noise_image.save(tmp_path / "data" / "a.png", exif=exif, icc_profile=b"x" * 200)
    found = handle_folder(ImageSet.from_folder(tmp_path / "data"), tmp_path / "out", ())
    picture = read_picture(found.items[0].path)
    assert (picture.alpha, picture.exif, picture.icc, picture.text) == (None, None, None, {})
    assert (picture.rgb == read_picture(tmp_path / "data" / "a.png").rgb).all()


def test_a_stopped_call_is_resumed_and_nothing_is_written_twice(
    folder: Path, tmp_path: Path
) -> None:
    data, out = ImageSet.from_folder(folder), tmp_path / "out"
    with pytest.raises(Cancelled):
        handle_folder(data, out, STEPS, seed=3, progress=StopAfter(2))
    first = files(out)
    assert sum(name.endswith(".png") for name in first) == 2
    assert not [name for name in first if Path(name).name.startswith(".part")]
    found = handle_folder(data, out, STEPS, seed=3)
    assert first.items() <= files(out).items()
    whole = handle_folder(data, tmp_path / "whole", STEPS, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(pixels(found), pixels(whole), strict=True))
    after = files(out)
    assert handle_folder(data, out, STEPS, seed=3) == found
    assert files(out) == after


@pytest.mark.parametrize("change", ["steps", "seed", "images", "captions"])
def test_a_folder_of_another_call_is_refused(folder: Path, tmp_path: Path, change: str) -> None:
    out, steps, seed = tmp_path / "out", STEPS, 0
    handle_folder(ImageSet.from_folder(folder), out, steps, seed=seed)
    before = files(out)
    if change == "steps":
        steps = STEPS[:2]
    elif change == "seed":
        seed = 1
    elif change == "images":
        noise(folder / "four.png", (40, 30))
    else:
        (folder / "3_a cat" / "one.txt").write_text("another")
    part = change.replace("captions", "images")
    with pytest.raises(
        DatasetError, match=f"made with other settings: {part} in its {RECORD} is different"
    ):
        handle_folder(ImageSet.from_folder(folder), out, steps, seed=seed)
    assert files(out) == before


def test_folders_with_other_files_are_refused(folder: Path, tmp_path: Path) -> None:
    data = ImageSet.from_folder(folder)
    other = noise(tmp_path / "other" / "mine.png").parent
    with pytest.raises(DatasetError, match="has files that were not written by this step"):
        handle_folder(data, other, STEPS)
    with pytest.raises(DatasetError, match="is, contains or is inside the data folder"):
        handle_folder(data, folder / "out", STEPS)
    with pytest.raises(DatasetError, match="is a file; expected a folder"):
        handle_folder(data, other / "mine.png", STEPS)
    (other / RECORD).write_text("[")
    with pytest.raises(DatasetError, match="not valid JSON"):
        handle_folder(data, other, STEPS)
    assert set(files(other)) == {"mine.png", RECORD}


@pytest.mark.parametrize(
    ("steps", "seed", "words"),
    [
        ([Step("crop"), Step("jpeg", {"quality": 0})], 0, "quality is 0"),
        ([Step("jpeg", {"quality": object()})], 0, "expected numbers, texts, true or false"),
        ([Step("mirror", {"rate": float("nan")})], 0, "expected numbers, texts, true or false"),
        ([Step("replace-captions", {"texts": ["\ud800"]})], 0, "expected numbers, texts"),
        ([], -1, "seed is -1; expected a whole number"),
    ],
)
def test_bad_settings_write_nothing(
    folder: Path, tmp_path: Path, steps: list[Step], seed: int, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        handle_folder(ImageSet.from_folder(folder), tmp_path / "out", steps, seed=seed)
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_handled_are_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    noise(folder / "tiny.png", (10, 70))
    noise(folder / "gone.png")
    steps = [Step("bucket", {"no_upscale": True, "step": 16, "min_side": 16})]
    data = ImageSet.from_folder(folder)
    (folder / "gone.png").unlink()
    found = handle_folder(data, tmp_path / "out", steps)
    assert len(found) == 4
    problems = dict(found.problems)
    assert set(problems) == {"broken.png", "gone.png", "tiny.png"}
    assert "10x70 pixels, which fits no bucket" in problems["tiny.png"]
    assert {read_picture(item.path).size for item in found.items} == {(32, 16)}


def test_a_folder_of_which_nothing_can_be_handled(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"No image in .* could be changed\. .*no bucket"):
        handle_folder(
            ImageSet.from_folder(folder),
            tmp_path / "out",
            [Step("bucket", {"no_upscale": True})],
        )
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        reason = OSError(errno.ENOSPC, "No space left on device")
        raise ImageError("a.png can't be written") from reason

    monkeypatch.setattr(apply, "write_picture", full)
    with pytest.raises(DatasetError, match=r"No space left on device\. Finished images are kept"):
        handle_folder(ImageSet.from_folder(folder), tmp_path / "out", STEPS)


def test_the_record(folder: Path, tmp_path: Path) -> None:
    handle_folder(ImageSet.from_folder(folder), tmp_path / "out", STEPS, seed=9)
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert record["seed"] == 9
    assert record["steps"][2] == {"name": "jpeg", "settings": {"quality": 70}}
    assert record["images"]["3_a cat/one.png"][1] == "one cat"
    assert str(tmp_path) not in json.dumps(record)


def test_the_record_knows_what_is_in_a_named_file(folder: Path, tmp_path: Path) -> None:
    net, out = tmp_path / "net.safetensors", tmp_path / "out"
    data, steps = ImageSet.open(folder), (Step("uncoat", {"file": str(net)}),)
    for seed in (0, 1):
        torch.manual_seed(seed)
        made = Uncoater(2, 1)
        torch.nn.init.normal_(made.last.weight)
        made.save(net, {})
        if seed:
            with pytest.raises(DatasetError, match=f"files in its {RECORD} is different"):
                handle_folder(data, out, steps)
        else:
            handle_folder(data, out, steps)
            handle_folder(data, out, steps)


# -- steps by name --------------------------------------------------------------------------


def test_steps_get_settings_by_name_and_by_attack() -> None:
    steps = steps_of(["blur", "noise", "jpeg"], {"sigma": 0.5, "jpeg.quality": 30})
    assert [step.name for step in steps] == ["blur", "noise", "jpeg"]
    assert [step.settings.get("sigma") for step in steps] == [0.5, 0.5, None]
    assert steps[2].settings["quality"] == 30
    weaker = steps_of(["noise", "palette"], {"strength": 0})
    assert [step.name for step in weaker] == ["palette"]


@pytest.mark.parametrize(
    ("names", "given", "words"),
    [
        ([], {}, "No attack was named; expected one or more of centre-crop"),
        (["smear"], {}, "no attack 'smear'"),
        (["hue", "blur"], {"quality": 5}, "hue, blur has no setting 'quality'; expected one of ke"),
        (["hue"], {"blur.sigma": 5}, "hue has no setting 'blur.sigma'"),
        (["hue"], {"hue.sigma": 5}, "no setting 'sigma' here"),
        (["half"], {}, "half changes the weights of a LoRA or a model"),
    ],
)
def test_steps_that_cannot_be_made(names: list[str], given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        steps_of(names, given)
