"""Edits of pictures: right values, sizes, ranges, seeds, and settings that change nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from siren_ext.attacks import transforms
from siren_ext.attacks.colours import brightness, contrast, hue, saturation, sharpness
from siren_ext.attacks.transforms import (
    blur,
    centre_crop,
    noise,
    round_to_bits,
    super_resolution,
    text_overlay,
)
from siren_ext.errors import ConfigError, ImageError, MissingExtraError

KORNIA = {blur, brightness, contrast, hue, saturation, sharpness}
NEUTRAL: dict[Callable[..., Tensor], dict[str, Any]] = {
    blur: {"sigma": 0},
    brightness: {"factor": 1},
    centre_crop: {"keep": 1},
    contrast: {"factor": 1},
    hue: {"turn": 0},
    noise: {"sigma": 0},
    saturation: {"factor": 1},
    sharpness: {"factor": 1},
    super_resolution: {"shrink": 1},
    text_overlay: {"height": 0},
}
every = pytest.mark.parametrize("function", [*NEUTRAL, round_to_bits], ids=lambda f: f.__name__)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 20, 28, generator=draws(9))


def needs(function: Callable[..., Tensor]) -> None:
    if function in KORNIA:
        pytest.importorskip("kornia")


@every
def test_size_range_type_and_seed(function: Callable[..., Tensor]) -> None:
    needs(function)
    images = pictures()
    kept = images.clone()
    found = function(images, draws(1))
    assert torch.equal(images, kept)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert torch.isfinite(found).all()
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.equal(found, function(images, draws(1)))
    assert not torch.equal(found, images)
    with pytest.raises(ImageError, match="expected a batch"):
        function(images[0], draws(1))


@pytest.mark.parametrize("function", NEUTRAL, ids=lambda f: f.__name__)
def test_neutral_settings_change_nothing(function: Callable[..., Tensor]) -> None:
    needs(function)
    images = pictures()
    found = function(images, draws(), **NEUTRAL[function])
    assert torch.allclose(found, images, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        (centre_crop, {"keep": 0}, "keep is 0; expected a number from 0.01 to 1"),
        (hue, {"turn": 1}, "turn is 1"),
        (noise, {"sigma": -1}, "sigma is -1"),
        (brightness, {"factor": 11}, "factor is 11"),
        (contrast, {"factor": "2"}, "factor is '2'"),
        (blur, {"kernel": 4}, "kernel is 4; expected an odd number"),
        (blur, {"sigma": 21}, "sigma is 21"),
        (round_to_bits, {"bits": 9}, "bits is 9; expected a whole number from 1 to 8"),
        (super_resolution, {"shrink": 0.5}, "shrink is 0.5"),
        (text_overlay, {"text": " "}, "text is ' '; expected 1 to 200 characters"),
        (text_overlay, {"height": 2}, "height is 2"),
    ],
)
def test_settings_out_of_range(
    function: Callable[..., Tensor], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        function(pictures(), draws(), **settings)


def test_the_middle_is_enlarged() -> None:
    images = torch.zeros(1, 3, 40, 40)
    images[..., 10:30, 10:30] = 1
    assert float(centre_crop(images, keep=0.25).min()) > 0.9999
    assert float(centre_crop(images, keep=0.3).min()) < 0.9


def test_blur_keeps_flat_areas_and_spreads_points() -> None:
    pytest.importorskip("kornia")
    point = torch.zeros(1, 3, 21, 21)
    point[..., 10, 10] = 1
    spread = blur(point)
    assert float(spread.sum()) == pytest.approx(3, abs=1e-4)
    along = sum(math.exp(-(step**2) / (2 * 1.4**2)) for step in range(-3, 4))
    assert float(spread[0, 0, 10, 10]) == pytest.approx(1 / along**2, rel=1e-4)
    assert (spread[0, 0] > 0).sum() == 49
    assert torch.allclose(blur(torch.full((1, 3, 2, 9), 0.3)), torch.full((1, 3, 2, 9), 0.3))


def test_noise_has_the_stated_deviation() -> None:
    images = torch.full((1, 3, 100, 100), 0.5)
    assert float((noise(images, draws()) - images).std()) == pytest.approx(0.05, rel=0.03)
    assert not torch.equal(noise(images, draws(1)), noise(images, draws(2)))


def test_rounding() -> None:
    images = pictures()
    assert torch.equal(round_to_bits(images), (images * 255).round() / 255)
    assert len(round_to_bits(images, bits=2).unique()) == 4


def test_super_resolution_loses_detail_and_keeps_the_rest() -> None:
    slope = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert float((super_resolution(slope) - slope).abs().mean()) < 0.01
    stripes = torch.arange(32).remainder(2).float().view(1, 1, 1, 32).expand(1, 3, 32, 32)
    assert float((super_resolution(stripes) - 0.5).abs().mean()) < 0.1


def test_text_is_written_within_the_image_at_the_stated_height() -> None:
    images = torch.zeros(1, 3, 120, 500)
    written = text_overlay(images, draws())
    rows = (written[0, 0] > 0).any(1).nonzero()
    assert 10 <= int(rows.max() - rows.min()) + 1 <= 12
    assert float(written.max()) > 0.9
    assert torch.equal(written[0, 0], written[0, 2])
    narrow = text_overlay(torch.zeros(1, 3, 120, 30), draws())
    assert 0 < int((narrow[0, 0] > 0).any(1).sum()) < 6
    assert not torch.equal(written, text_overlay(images, draws(1)))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    for function in (brightness, blur):
        with pytest.raises(MissingExtraError, match=r"kornia.*siren-ext\[attacks\]"):
            function(pictures())
    assert transforms.noise(pictures(), draws()).shape == (2, 3, 20, 28)
