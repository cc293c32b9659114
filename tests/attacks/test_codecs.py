"""Re-encoding: the pixels are those that the encoder leaves."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from siren_ext.attacks.codecs import jpeg, palette, webp
from siren_ext.data.images import to_tensor, to_uint8
from siren_ext.errors import ConfigError, ImageError

CODECS: list[Callable[..., Tensor]] = [jpeg, webp, palette]


def soft(count: int = 2, height: int = 48, width: int = 56) -> Tensor:
    """Smooth pictures with some noise, as photographs have it."""
    generator = torch.Generator().manual_seed(4)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def by_pillow(image: Tensor, kind: str, **options: Any) -> Tensor:
    stream = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(stream, format=kind, **options)
    with Image.open(stream) as decoded:
        assert decoded.format == kind
        return to_tensor(np.asarray(decoded.convert("RGB")))


@pytest.mark.parametrize("codec", CODECS)
def test_shape_range_and_type(codec: Callable[..., Tensor]) -> None:
    images = soft()
    before = images.clone()
    found = codec(images)
    assert torch.equal(images, before)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.allclose(found * 255, (found * 255).round(), atol=1e-3)
    assert 0 < float((found - images).abs().mean()) < 0.1
    assert codec(images.to(torch.float64)).dtype == torch.float64
    assert torch.equal(found[1:], codec(images[1:])), "images of a batch are independent"


def test_jpeg_is_what_the_encoder_leaves() -> None:
    images = soft()
    for number in range(2):
        expected = by_pillow(images[number], "JPEG", quality=60, subsampling="4:4:4")
        assert torch.equal(jpeg(images, quality=60, chroma="4:4:4")[number : number + 1], expected)
    default = by_pillow(images[0], "JPEG", quality=85, subsampling="4:2:0")
    assert torch.equal(jpeg(images)[:1], default)


def test_webp_is_what_the_encoder_leaves() -> None:
    images = soft()
    assert torch.equal(webp(images)[:1], by_pillow(images[0], "WEBP", quality=80))
    assert torch.equal(webp(images, quality=30)[:1], by_pillow(images[0], "WEBP", quality=30))


@pytest.mark.parametrize("codec", [jpeg, webp])
def test_lower_quality_changes_more(codec: Callable[..., Tensor]) -> None:
    images = soft()
    errors = [float((codec(images, quality=q) - images).square().mean()) for q in (95, 60, 10)]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1] / 2


def colours(image: Tensor) -> int:
    return len(np.unique(to_uint8(image).reshape(-1, 3), axis=0))


@pytest.mark.parametrize("dither", [True, False])
@pytest.mark.parametrize("count", [2, 5, 16, 256])
def test_a_palette_has_no_more_colours(count: int, dither: bool) -> None:
    images = soft().clamp(0.3, 1)
    found = palette(images, colours=count, dither=dither)
    assert all(1 < colours(image) <= count for image in found)
    assert float(found.min()) > 0.2, "unused places of the palette are not black"


def test_dithering_keeps_the_local_mean() -> None:
    ramp = torch.linspace(0.2, 0.8, 64).expand(1, 3, 64, 64).contiguous()
    inside = slice(16, 48)  # the ends lie beyond the first and the last colour
    errors = []
    for dither in (True, False):
        change = palette(ramp, colours=3, dither=dither) - ramp
        errors.append(float(torch.nn.functional.avg_pool2d(change[..., inside], 8).abs().max()))
    assert errors[0] < errors[1] / 2
    plain = palette(ramp, colours=3, dither=False)
    assert torch.equal(plain, palette(plain, colours=3, dither=False))


def test_few_colours_stay_exactly() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :4] = 1
    image[:, 1, :, 4:] = 51 / 255
    for dither in (True, False):
        assert torch.equal(to_tensor(to_uint8(palette(image, dither=dither))), image)


@pytest.mark.parametrize(
    ("codec", "settings", "words"),
    [
        (jpeg, {"quality": 0}, "quality is 0; expected a whole number from 1 to 100"),
        (jpeg, {"quality": 85.0}, "quality is 85.0; expected a whole number"),
        (jpeg, {"chroma": "4:1:1"}, "chroma is '4:1:1'; expected one of 4:4:4, 4:2:2, 4:2:0"),
        (jpeg, {"chroma": ["4:2:0"]}, "expected one of 4:4:4"),
        (webp, {"quality": 101}, "quality is 101; expected a whole number from 0 to 100"),
        (palette, {"colours": 1}, "colours is 1; expected a whole number from 2 to 256"),
    ],
)
def test_bad_settings(codec: Callable[..., Tensor], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        codec(soft(), **settings)


@pytest.mark.parametrize("codec", CODECS)
def test_bad_images(codec: Callable[..., Tensor]) -> None:
    for wrong in (torch.rand(3, 8, 8), torch.rand(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=int)):
        with pytest.raises(ImageError, match="expected a batch B x 3 x H x W"):
            codec(wrong)


def test_images_beyond_the_format_are_refused() -> None:
    with pytest.raises(ImageError, match="16400x1 pixels can't be encoded as WEBP"):
        webp(torch.zeros(1, 3, 1, 16400))
