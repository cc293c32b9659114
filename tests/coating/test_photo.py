"""A photo that is coated by strips is the one that is coated whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coater.nets.jnd import jnd_map
from siren_ext.coating import photo
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.passes import Result, coat_and_score
from siren_ext.coating.photo import bicubic_weights, coat_photo, is_photo
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import resize, to_tensor


def levels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def small(**changes: object) -> Coater:
    shape = {"channels": 8, "bits": 3, "features": 4, "working_size": 24}
    return Coater(CoaterConfig.from_dict(shape | changes), seed=3)


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("shape", [(61, 45), (48, 83), (25, 25)])
@pytest.mark.parametrize("min_psnr", [0.0, 50.0])
def test_strips_give_the_same_image_and_scores(
    rows: int, shape: tuple[int, int], min_psnr: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    coater, rgb = small(min_psnr=min_psnr, strength=9.0), levels(*shape)
    (whole,) = coat_and_score(coater, to_tensor(rgb), 1.3, None, None)
    assert isinstance(whole, Result)
    monkeypatch.setattr(photo, "_STRIP_PIXELS", rows * shape[1])
    made = coat_photo(rgb, coater, 1.3, None)
    assert made is not None
    coated, clean, after = made
    # a value halfway between two levels may be rounded the other way
    assert np.mean(coated != whole.rgb) < 1e-3
    assert np.abs(coated.astype(int) - whole.rgb).max() <= 1
    assert np.mean(coated != rgb) > 0.2
    assert clean == pytest.approx(whole.clean_score, abs=1e-5)
    assert after == pytest.approx(whole.coated_score, abs=1e-4)
    assert coat_photo(rgb, coater, 1.3, None, scored=False)[1:] == (None, None)


def test_a_message_is_written() -> None:
    coater = Coater(CoaterConfig(channels=8, message_bits=6, working_size=24, min_psnr=0), seed=1)
    message, rgb = torch.tensor([1.0, -1, 1, 1, -1, -1]), levels(50, 60)
    (whole,) = coat_and_score(coater, to_tensor(rgb), 1.0, message, None)
    made = coat_photo(rgb, coater, 1.0, message)
    assert isinstance(whole, Result)
    assert made is not None
    assert np.mean(made[0] != whole.rgb) < 1e-3
    assert made[2] == pytest.approx(whole.coated_score, abs=1e-4)


def test_a_pattern_that_is_not_finite_gives_no_image() -> None:
    coater = small()
    coater.generator.final_layer.bias.data.fill_(float("nan"))
    assert coat_photo(levels(50, 60), coater, 1.0, None) is None


@pytest.mark.parametrize("rows", [1, 5, 16, 18, 200])
def test_masks_are_the_map(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = levels(35, 29)
    monkeypatch.setattr(photo, "_STRIP_PIXELS", rows * 29)
    found = torch.cat([heat for _, heat in photo._masks(rgb)])
    torch.testing.assert_close(found, jnd_map(to_tensor(rgb))[0, 0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("length", "size"), [(3000, 256), (513, 512), (97, 24), (48, 24)])
def test_weights_are_those_of_torch(length: int, size: int) -> None:
    column = torch.rand(1, 3, length, 4, generator=torch.Generator().manual_seed(0))
    expected = resize(0.2 + 0.6 * column, size, 4)
    found = (0.2 + 0.6 * column).transpose(2, 3) @ bicubic_weights(length, size).T
    torch.testing.assert_close(found.transpose(2, 3), expected, rtol=0, atol=2e-6)


def test_photos_are_large_and_without_coarse_colour() -> None:
    assert is_photo(small(), (1200, 1000))
    assert not is_photo(small(), (1000, 1000))
    assert not is_photo(small(working_size=1024), (4000, 1000))
    assert not is_photo(small(coarse=2.0), (1200, 1000))


def test_a_folder_with_a_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(2):
        Image.fromarray(levels(60, 50, number)).save(source / f"{number}.png")
    coater, images = small(), ImageSet.open(source)
    whole = coat_folder(images, coater, tmp_path / "whole")
    monkeypatch.setattr(photo, "_PHOTO", 1)
    strips = coat_folder(images, coater, tmp_path / "strips")
    for first, second in zip(whole.entries, strips.entries, strict=True):
        assert second.coated_score == pytest.approx(first.coated_score, abs=1e-4)
    coater.generator.final_layer.bias.data.fill_(float("nan"))
    failed = coat_folder(images, coater, tmp_path / "failed")
    assert "finite" in failed.failures[0].error
