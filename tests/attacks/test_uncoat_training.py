"""Training of the network that removes coatings: pairs, progress, resuming, what it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.stopping import StopAfter

from siren_ext.attacks import uncoat_training
from siren_ext.attacks.uncoat import uncoat
from siren_ext.attacks.uncoat_training import (
    UncoatConfig,
    UncoatTrainer,
    matched,
    train_uncoater,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.metrics.quality import psnr

SMALL = UncoatConfig(width=2, levels=2, size=16, crop=16, epochs=4, batch_size=3)


def pairs(folder: Path, count: int = 4, size: int = 16) -> tuple[ImageSet, ImageSet]:
    """Soft pictures, and the same with one checkered pattern added to all of them."""
    draws = torch.Generator().manual_seed(2)
    rows = torch.arange(size)
    pattern = 0.06 * (1.0 - 2.0 * ((rows[:, None] + rows) % 2))
    for number in range(count):
        soft = torch.rand(1, 3, 4, 4, generator=draws) * 0.6 + 0.2
        clean = torch.nn.functional.interpolate(soft, size=(size, size), mode="bilinear")
        for kind, image in (("clean", clean), ("coated", clean + pattern)):
            write_picture(Picture(to_uint8(image)), folder / kind / f"{number}.png")
    return ImageSet.open(folder / "coated"), ImageSet.open(folder / "clean")


def views(images: ImageSet) -> torch.Tensor:
    return torch.cat(list(images.tensors(16)))


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_it_overfits_four_pairs(tmp_path: Path, loss: str) -> None:
    coated, clean = pairs(tmp_path)
    config = UncoatConfig(
        width=8, levels=2, size=16, crop=16, epochs=150, batch_size=4, learning_rate=1e-2, loss=loss
    )  # type: ignore[arg-type]
    out = train_uncoater(coated, clean, config, tmp_path / "net.safetensors", device="cpu")
    before = psnr(views(coated), views(clean))
    after = psnr(uncoat(views(coated), file=str(out)), views(clean))
    assert float((after - before).min()) > 5
    assert not (tmp_path / "net.safetensors.state").exists()


def test_a_stopped_run_gives_the_same_network(tmp_path: Path) -> None:
    coated, clean = pairs(tmp_path)
    whole = train_uncoater(coated, clean, SMALL, tmp_path / "whole.safetensors", device="cpu")
    out = tmp_path / "broken.safetensors"
    with pytest.raises(Cancelled):
        train_uncoater(coated, clean, SMALL, out, device="cpu", progress=StopAfter(8 + 5))
    assert not out.exists()
    train_uncoater(coated, clean, SMALL, out, device="cpu")
    assert torch.equal(uncoat(views(coated), file=str(out)), uncoat(views(coated), file=str(whole)))
    stamp = out.stat().st_mtime_ns
    assert train_uncoater(coated, clean, SMALL, out, device="cpu") == out
    assert out.stat().st_mtime_ns == stamp
    with pytest.raises(ConfigError, match="already exists and was not overwritten"):
        train_uncoater(coated, clean, UncoatConfig(seed=1), out, device="cpu")


def test_a_step_that_is_broken_off_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C is raised wherever the program is, so within a step too."""
    coated, clean = pairs(tmp_path)
    whole = train_uncoater(coated, clean, SMALL, tmp_path / "whole.safetensors", device="cpu")
    out, calls = tmp_path / "broken.safetensors", []
    backward = torch.Tensor.backward

    def broken(loss: torch.Tensor, *rest: Any) -> None:
        calls.append(loss)
        if len(calls) == 6:
            raise KeyboardInterrupt
        backward(loss, *rest)

    monkeypatch.setattr(torch.Tensor, "backward", broken)
    with pytest.raises(KeyboardInterrupt):
        train_uncoater(coated, clean, SMALL, out, device="cpu")
    train_uncoater(coated, clean, SMALL, out, device="cpu")
    first, second = load_file(out), load_file(whole)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_parts_are_the_same_of_both_images() -> None:
    images = torch.arange(5 * 3 * 20 * 20).remainder(251).to(torch.uint8).reshape(5, 3, 20, 20)
    config = UncoatConfig(width=1, levels=1, size=20, crop=16, epochs=2, batch_size=2)
    trainer = UncoatTrainer(images, images, config, torch.device("cpu"))
    assert trainer.steps == 2 * 3
    seen = []
    for trainer.step in range(3):
        first, second = trainer.batch()
        assert torch.equal(first, second)
        assert first.shape[1:] == (3, 16, 16)
        assert torch.equal(first, trainer.batch()[0])
        seen.append(len(first))
    assert seen == [2, 2, 1]


def test_images_are_matched_by_name(tmp_path: Path) -> None:
    coated, clean = pairs(tmp_path)
    (tmp_path / "clean" / "0.png").rename(tmp_path / "clean" / "other.png")
    (tmp_path / "clean" / "1.png").rename(tmp_path / "clean" / "1.webp")
    first, second = matched(coated, ImageSet.open(tmp_path / "clean"))
    assert [item.name for item in first.items] == ["1.png", "2.png", "3.png"]
    assert [item.name for item in second.items] == ["1.webp", "2.png", "3.png"]
    strangers, _ = pairs(tmp_path / "more", 5)
    strangers.items[4].path.rename(tmp_path / "more" / "coated" / "x.png")
    for number in range(4):
        (tmp_path / "more" / "coated" / f"{number}.png").unlink()
    with pytest.raises(DatasetError, match="has the same name as one in"):
        matched(ImageSet.open(tmp_path / "more" / "coated"), clean)


def test_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coated, clean = pairs(tmp_path)
    with pytest.raises(ConfigError, match="a name ending in"):
        train_uncoater(coated, clean, SMALL, tmp_path / "net.bin")
    few = "is 16 pixels, too few for 5 levels; expected at least 32"
    with pytest.raises(ConfigError, match=f"size {few}"):
        UncoatConfig(levels=5, size=16)
    with pytest.raises(ConfigError, match=f"crop {few}"):
        UncoatConfig(levels=5, crop=16)
    monkeypatch.setattr(uncoat_training, "MAX_PIXELS", 2 * 4 * 16 * 16 - 1)
    with pytest.raises(ConfigError, match="4 pairs of 16 pixels need more memory"):
        train_uncoater(coated, clean, SMALL, tmp_path / "net.safetensors")
