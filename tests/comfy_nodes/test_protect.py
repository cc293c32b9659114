"""Coating on a stand-in host: the pixels of the folder path, masks, refusals, interrupts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.fake_host import FakeHost, Interrupt, ProgressBar, batch, nodes_of_pack, run
from support.metadata_files import jpeg, segment

from siren_ext.coater.bundled import BUNDLED_COATERS
from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.errors import ImageError


def test_coat_image_equals_the_folder(host: FakeHost, coater: Coater, pictures: Path) -> None:
    out = host.base / "core"
    coat_folder(ImageSet.open(pictures), coater, out, batch_size=1)
    images = batch(pictures)
    coated, difference, _ = run(
        nodes_of_pack()["SirenCoatImage"], coater=coater, image=images, strength=1.0
    ).args
    # what Save Image does
    saved = np.clip(255.0 * coated.numpy(), 0, 255).astype(np.uint8)
    for index, pixels in enumerate(saved):
        assert np.array_equal(pixels, read_picture(out / f"{index}.png").rgb)
    expected = ((coated - images) * 10 + 0.5).clamp(0, 1)
    assert torch.allclose(difference, expected)
    assert difference.std() > 0


def test_transparency_and_mask(host: FakeHost, coater: Coater, pictures: Path) -> None:
    coat = nodes_of_pack()["SirenCoatImage"]
    images = batch(pictures)
    alpha = torch.rand(3, 24, 20, 1)
    whole = torch.cat([images, alpha], dim=-1)
    keep = torch.zeros(1, 24, 20)
    keep[:, :, :10] = 1
    coated = run(coat, coater=coater, image=whole, strength=1.0, keep=keep).args[0]
    assert torch.equal(coated[..., 3:], alpha)
    assert torch.equal(coated[:, :, :10, :3], images[:, :, :10])
    assert not torch.equal(coated[:, :, 10:, :3], images[:, :, 10:])
    # Load Image's empty mask is no mask; another one of a wrong size is a fault
    run(coat, coater=coater, image=images, strength=1.0, keep=torch.zeros(1, 64, 64))
    with pytest.raises(ImageError, match="The mask has shape"):
        run(coat, coater=coater, image=images, strength=1.0, keep=torch.ones(1, 64, 64))


def test_other_tensors_are_refused(host: FakeHost, coater: Coater) -> None:
    coat = nodes_of_pack()["SirenCoatImage"]
    with pytest.raises(ImageError, match="expected ComfyUI's IMAGE"):
        run(coat, coater=coater, image=torch.zeros(1, 3, 24, 24), strength=1.0)


def test_an_interrupt_stops_between_pictures(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    seen = []

    def stop(current: int, total: int) -> None:
        seen.append((current, total))
        host.interrupted = True

    ProgressBar.hook = stop
    with pytest.raises(Interrupt):
        run(nodes_of_pack()["SirenCoatImage"], coater=coater, image=batch(pictures), strength=1.0)
    assert seen == [(1, 3)]
    assert not host.interrupted


def test_coat_folder(host: FakeHost, coater: Coater, pictures: Path) -> None:
    node = nodes_of_pack()["SirenCoatFolder"]
    inputs = {"layout": "plain", "strength": 1.0, "share": 1.0}
    result = run(node, coater=coater, folder="pictures", save_as="siren/out", **inputs)
    name, summary = result.args
    assert name == "siren/out"
    first, worth = summary.splitlines()
    assert first == "3 of 3 images coated in siren/out"
    assert worth.startswith(f"Protected. Coater {coater.fingerprint[:12]}")
    assert result.ui["text"] == [summary]
    assert len(list((host.base / "output" / "siren" / "out").glob("*.png"))) == 3
    assert node.validate_inputs(folder="pictures", save_as="x") is True
    assert node.validate_inputs(folder=None, save_as=None) is True
    assert "no folder 'other'" in str(node.validate_inputs(folder="other", save_as="x"))


def test_coat_folder_in_the_format_of_the_images(
    host: FakeHost, coater: Coater, pictures: Path
) -> None:
    for number in range(5):
        credentials = segment(0xEB, b"JP\0\1\0\0\0\1jumb....c2pa")
        jpeg(pictures / f"signed{number}.jpg", credentials)
    node = nodes_of_pack()["SirenCoatFolder"]
    inputs = {"layout": "musubi", "strength": 1.0, "share": 1.0, "format": "keep"}
    result = run(node, coater=coater, folder="pictures", save_as="siren/out", **inputs)
    out = host.base / "output" / "siren" / "out"
    assert (len(list(out.glob("*.png"))), len(list(out.glob("*.jpg")))) == (3, 5)
    assert len((out / "metadata.jsonl").read_text().splitlines()) == 8
    summary = result.args[1]
    assert "8 of 8 images coated in siren/out" in summary
    assert "Content credentials (C2PA) were dropped" in summary
    assert "(signed0.jpg, signed1.jpg, signed2.jpg and 2 more)" in summary
    found = {part.id: part.options.get("options") for part in node.define_schema().inputs}
    for name in ("layout", "format"):
        assert all(CoatConfig(**{name: option}) for option in found[name])


def test_load_coater(host: FakeHost, coater: Coater) -> None:
    node = nodes_of_pack()["SirenLoadCoater"]
    coater.save(host.base / "models" / "siren" / "mine.safetensors")
    (host.base / "models" / "siren" / "mine.surrogate.safetensors").touch()
    (names,) = [part.options["options"] for part in node.define_schema().inputs]
    assert names == [*(f"{name} (bundled)" for name in BUNDLED_COATERS), "mine.safetensors"]
    loaded = run(node, name="mine.safetensors").args[0]
    assert loaded.fingerprint == coater.fingerprint
    assert run(node, name="mine.safetensors").args[0] is loaded
    other = Coater(coater.config, seed=9)
    other.save(host.base / "models" / "siren" / "mine.safetensors")
    assert run(node, name="mine.safetensors").args[0].fingerprint == other.fingerprint
    assert "There is no coater 'gone'" in str(node.validate_inputs(name="gone"))
    assert node.validate_inputs(name="samples (bundled)") is True


def test_only_bundled_names_are_bundled(host: FakeHost, coater: Coater, tmp_path: Path) -> None:
    node = nodes_of_pack()["SirenLoadCoater"]
    outside = tmp_path / "outside.safetensors"
    coater.save(outside)
    for name in (f"{outside} (bundled)", "mine (bundled)", "../../outside.safetensors (bundled)"):
        assert "There is no coater" in str(node.validate_inputs(name=name))


def test_a_public_coater_is_named_on_every_node(host: FakeHost, pictures: Path) -> None:
    found = nodes_of_pack()
    result = run(found["SirenLoadCoater"], name="samples (bundled)")
    (public,) = result.args
    (card,) = result.ui["siren"]
    assert (card["title"], card["tone"]) == ("Public coater: try-out only", "warn")
    # a copy under a name of one's own is as public
    public.save(host.base / "models" / "siren" / "mine.safetensors")
    assert run(found["SirenLoadCoater"], name="mine.safetensors").ui["siren"] == [card]
    coated = run(found["SirenCoatImage"], coater=public, image=batch(pictures), strength=1.0)
    assert coated.ui["siren"] == [card]
    folder = run(
        found["SirenCoatFolder"],
        coater=public,
        folder="pictures",
        save_as="out",
        layout="plain",
        strength=1.0,
        share=1.0,
    )
    assert (
        folder.args[1].splitlines()[1].startswith("Public coater: try-out only. This coater comes")
    )
    assert folder.ui["siren"][0]["tone"] == "warn"


@pytest.mark.parametrize("how", ["mask", "strength"])
def test_images_without_a_coating_are_reported(
    host: FakeHost, coater: Coater, pictures: Path, how: str
) -> None:
    keep = torch.zeros(3, 24, 20)
    keep[1] = 1
    given = {"keep": keep, "strength": 1.0} if how == "mask" else {"strength": 0.0}
    result = run(nodes_of_pack()["SirenCoatImage"], coater=coater, image=batch(pictures), **given)
    (card,) = result.ui["siren"]
    assert card["tone"] == "warn"
    if how == "mask":
        assert card["title"] == "Protected"
        assert card["lines"][-1].startswith("Nothing was added to image 2: the mask covers")
    else:
        assert card["title"] == "Nothing was added"
        assert card["lines"][-1].startswith("Nothing was added to image 1, 2, 3: the mask covers")
