"""Coating in memory: the same pixels as the folder path, masks, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.apply import coat_images
from siren_ext.coating.folder import coat_folder
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor, to_uint8
from siren_ext.errors import CoaterError, ImageError


@pytest.fixture
def coater() -> Coater:
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
    )
    return Coater(shape, seed=3)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def test_same_pixels_as_the_folder(coater: Coater, tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    coat_folder(ImageSet.open(tmp_path / "in"), coater, tmp_path / "out")
    written = read_picture(tmp_path / "out" / "a.png").rgb
    assert not np.array_equal(written, pixels)
    assert np.array_equal(to_uint8(coat_images(to_tensor(pixels), coater)), written)


def test_result_lies_on_the_levels_of_a_file(coater: Coater, images: torch.Tensor) -> None:
    coated = coat_images(images, coater)
    levels = coated * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert 0 <= float(coated.min()) <= float(coated.max()) <= 1


def test_masked_pixels_stay(coater: Coater, images: torch.Tensor) -> None:
    images = (images * 255).round() / 255
    keep = torch.zeros(1, 1, 24, 20)
    keep[..., :10] = 1
    coated = coat_images(images, coater, keep=keep)
    assert torch.equal(coated[..., :10], images[..., :10])
    assert torch.equal(coated[..., 10:], coat_images(images, coater)[..., 10:])
    assert not torch.equal(coated[..., 10:], images[..., 10:])


def test_strength_zero_only_rounds(coater: Coater, images: torch.Tensor) -> None:
    rounded = (images * 255).round() / 255
    assert torch.equal(coat_images(images, coater, strength=0.0), rounded)


@pytest.mark.parametrize("shape", [(3, 24, 20), (1, 4, 24, 20), (1, 3, 8, 20), (0, 3, 24, 20)])
def test_other_shapes_are_refused(coater: Coater, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="can't be coated; expected"):
        coat_images(torch.zeros(shape), coater)


def test_bytes_are_refused_and_other_precisions_are_coated(
    coater: Coater, images: torch.Tensor
) -> None:
    with pytest.raises(ImageError, match=r"type torch\.uint8 can't be coated; expected floating"):
        coat_images((images * 255).to(torch.uint8), coater)
    usual = coat_images(images.half().float(), coater)
    assert torch.equal(coat_images(images.half(), coater), usual)
    assert torch.equal(coat_images(images.half().double(), coater), usual)


def test_an_image_without_sane_values_is_named(coater: Coater, images: torch.Tensor) -> None:
    images[1, 0, 12, 10] = float("nan")
    with pytest.raises(CoaterError, match="output for image 1 has values that are not finite"):
        coat_images(images, coater)
