"""What happens to pictures: sizes, ranges, draws, and settings that change nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from siren_ext.attacks.handling import (
    aspect_bucket,
    colour_jitter,
    crop_jitter,
    mirror,
    platform_resize,
    several_resolutions,
)
from siren_ext.errors import ConfigError, ImageError, MissingExtraError

Handling = Callable[..., Tensor]

SMALL_BUCKETS = {"resolution": (64, 64), "min_side": 32, "max_side": 128, "step": 8}
CASES: dict[str, tuple[Handling, dict[str, Any]]] = {
    "resize": (platform_resize, {"longest": 30}),
    "resolutions": (several_resolutions, {"sizes": ((40, 40), (20, 20), (10, 10))}),
    "bucket": (aspect_bucket, SMALL_BUCKETS),
    "bucket at random": (aspect_bucket, SMALL_BUCKETS | {"random_crop": True}),
    "crop": (crop_jitter, {}),
    "crop of another size": (crop_jitter, {"keep_size": False}),
    "mirror": (mirror, {}),
    "colour": (colour_jitter, {}),
}
DRAWING = ("resolutions", "bucket at random", "crop", "crop of another size", "mirror", "colour")
IDENTITIES: dict[str, tuple[Handling, dict[str, Any]]] = {
    "resize": (platform_resize, {"longest": 60}),
    "resolutions": (several_resolutions, {"sizes": ((60, 50), (100, 100))}),
    "bucket of this size": (aspect_bucket, SMALL_BUCKETS | {"no_upscale": True, "step": 2}),
    "crop": (crop_jitter, {"low": 1}),
    "crop of another size": (crop_jitter, {"low": 1, "keep_size": False}),
    "mirror": (mirror, {"rate": 0}),
    "colour": (colour_jitter, dict.fromkeys(("brightness", "contrast", "saturation"), 0)),
}
IDENTITIES["colour"][1].update(hue=0, gamma=0)


def noise(count: int = 4, height: int = 50, width: int = 60) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(7))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def needs_kornia(name: str) -> None:
    if name == "colour":
        pytest.importorskip("kornia")


# -- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_range_type_and_input(name: str) -> None:
    needs_kornia(name)
    function, settings = CASES[name]
    images = noise()
    before = images.clone()
    found = function(images, draws(3), **settings)
    assert torch.equal(images, before), "the input is not changed"
    assert found.shape[:2] == (4, 3)
    assert found.dtype == torch.float32
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert function(images.double(), draws(), **settings).dtype == torch.float64
    assert found.shape != images.shape or not torch.equal(found, images)


@pytest.mark.parametrize("name", CASES)
def test_equal_seeds_give_equal_images(name: str) -> None:
    needs_kornia(name)
    function, settings = CASES[name]
    first, again = (function(noise(), draws(3), **settings) for _ in range(2))
    assert torch.equal(first, again)
    others = [function(noise(), draws(seed), **settings) for seed in range(4, 12)]
    changes = any(o.shape != first.shape or not torch.equal(o, first) for o in others)
    assert changes == (name in DRAWING)


@pytest.mark.parametrize("name", IDENTITIES)
def test_settings_that_change_nothing(name: str) -> None:
    needs_kornia(name)
    function, settings = IDENTITIES[name]
    assert torch.equal(function(noise(), draws(), **settings), noise())


@pytest.mark.parametrize("name", CASES)
def test_bad_images(name: str) -> None:
    function, settings = CASES[name]
    for wrong in (noise()[0], noise()[:, :1], (noise() * 255).to(torch.uint8)):
        with pytest.raises(ImageError, match="expected a batch B x 3 x H x W of a float type"):
            function(wrong, draws(), **settings)


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        (platform_resize, {"longest": 7}, "longest is 7; expected a whole number from 8 to 16384"),
        (platform_resize, {"longest": True}, "longest is True; expected a whole number"),
        (several_resolutions, {"sizes": ()}, "expected pairs of width and height"),
        (several_resolutions, {"sizes": (512, 384)}, "expected pairs of width and height"),
        (several_resolutions, {"sizes": ((512, 4),)}, "a side in sizes is 4; expected"),
        (aspect_bucket, {"min_side": 2000}, "expected limits that include"),
        (crop_jitter, {"low": 0}, "low is 0; expected a number from 0.01 to 1"),
        (crop_jitter, {"high": 1.1}, "high is 1.1; expected a number from 0.01 to 1"),
        (crop_jitter, {"low": 0.9, "high": 0.8}, "expected low to be at most high"),
        (mirror, {"rate": 2}, "rate is 2; expected a number from 0 to 1"),
        (mirror, {"rate": math.nan}, "rate is nan; expected a number from 0 to 1"),
        (colour_jitter, {"contrast": -0.1}, "contrast is -0.1; expected a number from 0 to 1"),
        (colour_jitter, {"hue": 181}, "hue is 181; expected a number from 0 to 180"),
        (colour_jitter, {"gamma": 1}, "gamma is 1; expected a number from 0 to 0.9"),
    ],
)
def test_bad_settings(function: Handling, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        function(noise(), draws(), **settings)


# -- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((100, 200), 50, (25, 50)), ((200, 100), 50, (50, 25)), ((3, 400), 100, (1, 100))],
)
def test_longest_side(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    found = platform_resize(torch.full((1, 3, *size), 0.3), longest=longest)
    assert found.shape[2:] == expected
    assert torch.allclose(found, torch.tensor(0.3), atol=1e-5)


def test_all_resolutions_appear_with_the_proportions_of_the_image() -> None:
    images = torch.rand(2, 3, 100, 200)
    sizes = {
        tuple(
            several_resolutions(images, draws(seed), sizes=((400, 90), (64, 64), (300, 100))).shape
        )
        for seed in range(30)
    }
    # area 4096 at 2:1 is 45.25 x 90.5; the other two are larger than the image
    assert sizes == {(2, 3, 100, 200), (2, 3, 45, 90)}


def test_an_image_is_resized_and_cropped_to_its_bucket() -> None:
    # ratio 1.2; of the buckets of 64 x 64 pixels in steps of 8 (48 x 80, 56 x 72, 64 x 64, ...)
    # 72 x 56 is nearest with 1.286; 50 x 60 is enlarged by 72/60 to 60 x 72, and 2 rows are cut
    found = aspect_bucket(noise(), draws(), **SMALL_BUCKETS)
    whole = aspect_bucket(noise(), draws(), resolution=(72, 60), min_side=60, max_side=72, step=12)
    assert whole.shape == (4, 3, 60, 72)
    assert found.shape == (4, 3, 56, 72)
    assert torch.equal(found, whole[:, :, 2:58])


def test_random_places_of_buckets() -> None:
    settings = SMALL_BUCKETS | {"no_upscale": True, "step": 16, "random_crop": True}
    images = noise(8)
    found = aspect_bucket(images, draws(2), **settings)
    assert found.shape == (8, 3, 48, 48)
    places = {
        (top, left)
        for image, part in zip(images, found, strict=True)
        for top in range(3)
        for left in range(13)
        if torch.equal(image[:, top : top + 48, left : left + 48], part)
    }
    assert len(places) > 3


def test_images_that_fit_no_bucket() -> None:
    with pytest.raises(ImageError, match="60x50 pixels, which fits no bucket"):
        aspect_bucket(noise(), draws(), no_upscale=True)


# -- draws ----------------------------------------------------------------------------------


def test_shares_of_crops_are_uniform_within_the_limits() -> None:
    image = noise(1, 200, 400)
    shapes = [crop_jitter(image, draws(seed), keep_size=False).shape[2:] for seed in range(200)]
    heights = [height / 200 for height, _ in shapes]
    assert all(abs(height / 200 - width / 400) < 0.004 for height, width in shapes)
    assert 0.75 <= min(heights) < 0.77
    assert 0.98 < max(heights) <= 1
    assert abs(sum(heights) / 200 - 0.875) < 0.02


def test_a_crop_is_a_part_of_the_image() -> None:
    image = noise(1, 20, 20)
    part = crop_jitter(image, draws(1), low=0.5, high=0.5, keep_size=False)
    assert part.shape == (1, 3, 10, 10)
    found = image.unfold(2, 10, 1).unfold(3, 10, 1).permute(0, 2, 3, 1, 4, 5)
    assert int((found == part[:, None, None]).flatten(3).all(3).sum()) == 1


def test_crops_of_a_batch_differ_and_keep_its_size() -> None:
    image = noise(1).expand(3, -1, -1, -1)
    found = crop_jitter(image, draws())
    assert found.shape == image.shape
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_half_of_the_images_are_mirrored() -> None:
    images = noise(400, 2, 3)
    found = mirror(images, draws(1))
    turned = (found == images.flip(3)).flatten(1).all(1)
    kept = (found == images).flatten(1).all(1)
    assert bool((turned ^ kept).all())
    assert 160 < int(turned.sum()) < 240
    assert torch.equal(mirror(images, draws(), rate=1), images.flip(3))


# -- colours --------------------------------------------------------------------------------


def only(**settings: float) -> dict[str, float]:
    return dict.fromkeys(("brightness", "contrast", "saturation", "hue", "gamma"), 0.0) | settings


def test_brightness_is_a_factor_within_its_limits() -> None:
    pytest.importorskip("kornia")
    image = noise(1).clamp(0.2, 0.7)
    factors = []
    for seed in range(50):
        ratio = colour_jitter(image, draws(seed), **only(brightness=0.3)) / image
        assert float(ratio.std()) < 1e-5
        factors.append(float(ratio.mean()))
    assert 0.7 <= min(factors) < 0.8
    assert 1.2 < max(factors) <= 1.3


def test_gamma_is_an_exponent_within_its_limits() -> None:
    pytest.importorskip("kornia")
    image = noise(1).clamp(0.1, 0.9)
    exponents = []
    for seed in range(50):
        ratio = colour_jitter(image, draws(seed), **only(gamma=0.05)).log() / image.log()
        assert float(ratio.std()) < 1e-4
        exponents.append(float(ratio.mean()))
    assert 0.95 <= min(exponents) < 0.97
    assert 1.03 < max(exponents) <= 1.05


def test_grey_has_no_hue_and_no_saturation() -> None:
    pytest.importorskip("kornia")
    grey = torch.rand(2, 1, 8, 8, generator=draws()).expand(-1, 3, -1, -1)
    found = colour_jitter(grey, draws(), **only(hue=180, saturation=1))
    assert torch.allclose(found, grey, atol=1e-5)


def test_a_turn_of_the_hue_keeps_value_and_saturation() -> None:
    pytest.importorskip("kornia")
    image = noise(1)
    found = colour_jitter(image, draws(1), **only(hue=120))
    assert float((found - image).abs().mean()) > 0.01
    assert torch.allclose(found.amax(1), image.amax(1), atol=1e-4)
    assert torch.allclose(found.amin(1), image.amin(1), atol=1e-4)


def test_images_of_a_batch_get_colours_of_their_own() -> None:
    pytest.importorskip("kornia")
    found = colour_jitter(noise(1).expand(3, -1, -1, -1), draws())
    assert not torch.allclose(found[0], found[1], atol=1e-3)
    assert not torch.allclose(found[1], found[2], atol=1e-3)


def test_without_kornia(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(MissingExtraError, match=r"'kornia'.*pip install 'siren-ext\[attacks\]'"):
        colour_jitter(noise(), draws())
