"""Saving for publication: no metadata, and what the images are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.fake_host import FakeHost, batch, nodes_of_pack, run

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig


def coated(coater: Coater, images: torch.Tensor, **given: Any) -> tuple[torch.Tensor, Any]:
    """The coated images and their record."""
    node = nodes_of_pack()["SirenCoatImage"]
    made, _, record = run(node, coater=coater, image=images, **({"strength": 1.0} | given)).args
    return made, record


def saved(images: torch.Tensor, record: Any, **given: Any) -> tuple[list[str], dict[str, Any]]:
    """Names of the saved files, and what the node shows."""
    node = nodes_of_pack()["SirenSaveCoatedImage"]
    result = run(node, **({"images": images, "record": record, "save_as": "art/fox"} | given))
    (card,) = result.ui["siren"]
    names = [f"{one['subfolder']}/{one['filename']}" for one in result.ui["images"]]
    assert [name.lstrip("/") for name in names] == result.args[0].splitlines()
    return result.args[0].splitlines(), card


def test_files_hold_the_pixels_and_nothing_else(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    alpha = torch.rand(3, 24, 20, 1)
    images, record = coated(coater, torch.cat([batch(pictures), alpha], dim=-1))
    names, card = saved(images, record)
    assert names == [f"art/fox_{number:05d}.png" for number in (1, 2, 3)]
    for name, image in zip(names, images, strict=True):
        raw = (host.base / "output" / name).read_bytes()
        kinds = [raw[at + 4 : at + 8] for at in chunks(raw)]
        assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}
        with Image.open(host.base / "output" / name) as seen:
            assert seen.mode == "RGBA"
            expected = np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)
            assert np.array_equal(np.asarray(seen), expected)
    assert card["title"] == "Protected"
    assert card["tone"] == "good"
    assert coater.fingerprint[:12] in card["lines"][0]
    # a second call overwrites nothing
    assert saved(images, record)[0][0] == "art/fox_00004.png"
    assert saved(images, record, save_as="plain")[0][0] == "plain_00001.png"


def chunks(raw: bytes) -> list[int]:
    """Where the chunks of a PNG begin."""
    places, at = [], 8
    while at < len(raw):
        places.append(at)
        at += 12 + int.from_bytes(raw[at : at + 4], "big")
    return places


def test_a_public_coater_is_in_the_name(host: FakeHost, pictures: Path) -> None:
    (public,) = run(nodes_of_pack()["SirenLoadCoater"], name="samples (bundled)").args
    names, card = saved(*coated(public, batch(pictures)))
    assert names[0] == "art/fox_try-out_00001.png"
    assert (card["title"], card["tone"]) == ("Public coater: try-out only", "warn")


@pytest.mark.parametrize("changed", ["later", "nothing added", "all untouched"])
def test_images_that_are_not_protected_are_named(
    host: FakeHost, coater: Coater, pictures: Path, changed: str
) -> None:
    images = batch(pictures)
    if changed == "later":
        made, record = coated(coater, images)
        made = made.clone()
        made[1] = made[1].flip(0)
        expected = "Image 2 is not as Coat Image made it"
    else:
        keep = torch.zeros(3, 24, 20)
        keep[1 if changed == "nothing added" else slice(None)] = 1
        made, record = coated(coater, images, keep=keep)
        expected = "Nothing was added to image "
    _, card = saved(made, record)
    whole = changed == "all untouched"
    assert card["title"] == ("Not coated" if whole else "Not all images are protected")
    assert card["tone"] == "warn"
    assert any(line.startswith(expected) for line in card["lines"])


def test_a_key_is_said_to_be_there(host: FakeHost) -> None:
    from siren_ext.keys.coating_key import CoatingKey

    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, message_bits=16, working_size=32
    )
    images = torch.rand(1, 40, 48, 3, generator=torch.Generator().manual_seed(0))
    _, record = coated(Coater(shape, seed=1), images, key=CoatingKey.draw(16))
    assert record.lines[0].endswith(", with your key.")


def test_the_name_is_checked(host: FakeHost) -> None:
    node = nodes_of_pack()["SirenSaveCoatedImage"]
    assert "can't be used as a name" in str(node.validate_inputs(save_as="../x"))
