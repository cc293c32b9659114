"""The visibility mask on flat areas, edges and the border."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from siren_ext.coater.nets import jnd
from siren_ext.coater.nets.jnd import jnd_map

FLAT = ((0, 0.07843), (32, 0.04497), (64, 0.03111), (127, 0.01176), (191, 0.01765), (255, 0.02353))


def grey(level: float, side: int = 12) -> torch.Tensor:
    return torch.full((1, 3, side, side), level / 255)


@pytest.mark.parametrize(("level", "expected"), FLAT)
def test_flat_areas(level: int, expected: float) -> None:
    heat = jnd_map(grey(level))
    assert heat.shape == (1, 1, 12, 12)
    assert heat[..., 3:-3, 3:-3].flatten().tolist() == pytest.approx([expected] * 36, abs=1e-5)


def test_border_is_exactly_zero_and_nothing_else() -> None:
    heat = jnd_map(torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0)))
    inner = torch.zeros_like(heat, dtype=torch.bool)
    inner[..., 1:-1, 1:-1] = True
    assert torch.equal(heat > 0, inner)


def test_edge_by_hand() -> None:
    """A step of 40 grey levels: Sobel gives 160 and the weighted mean 13 of 32 parts of it."""
    image = grey(127)
    image[..., 6:] = 167 / 255
    luminance = 3 / 128 * (40 * 13 / 32) + 3
    contrast = 0.117 * 16 * 160**2.4 / (160**2 + 26**2)
    expected = (luminance + contrast - 0.3 * min(luminance, contrast)) / 255
    assert jnd_map(image)[0, 0, 6, 5].item() == pytest.approx(expected, rel=1e-4)


def test_texture_hides_more_than_flat() -> None:
    busy = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert jnd_map(busy)[..., 2:-2, 2:-2].mean() > jnd_map(grey(127))[..., 2:-2, 2:-2].mean()


def test_gives_no_gradient() -> None:
    image = grey(100).requires_grad_(True)
    assert not jnd_map(image).requires_grad


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16])
def test_strips_of_a_large_image_fit_together(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 17, 12, generator=torch.Generator().manual_seed(2))
    whole = jnd_map(images)
    monkeypatch.setattr(jnd, "_STRIP_PIXELS", rows * 2 * 12)
    torch.testing.assert_close(jnd_map(images), whole, rtol=1e-6, atol=0)


def _by_convolution(images: torch.Tensor) -> torch.Tensor:
    """The mask by three convolutions and two powers, without strips."""
    luma = 255 * (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True)
    ring = [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]
    mean = F.conv2d(luma, images.new_tensor(ring)[None, None] / 32, padding=2)
    dark, light = 17 * (1 - (mean / 127).sqrt()) + 3, 3 / 128 * (mean - 127) + 3
    luminance = torch.where(mean <= 127, dark, light)
    sobel = images.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    slopes = F.conv2d(luma, torch.stack((sobel, sobel.T)).unsqueeze(1), padding=1)
    slope = slopes.square().sum(1, True).sqrt()
    contrast = 0.117 * 16 * slope**2.4 / (slope**2 + 26**2)
    return (luminance + contrast - 0.3 * torch.minimum(luminance, contrast)) / 255


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1.4e-7), (torch.float64, 1e-15)])
def test_sums_of_shifted_copies_equal_the_convolutions(dtype: torch.dtype, limit: float) -> None:
    noise = torch.rand(1, 3, 300, 257, generator=torch.Generator().manual_seed(3), dtype=dtype)
    smooth = F.interpolate(noise[..., :5, :5], size=(300, 257), mode="bilinear")
    images = torch.cat((noise, smooth, (noise > 0.5).to(dtype)))
    difference = jnd_map(images) - _by_convolution(images)
    assert difference[..., 1:-1, 1:-1].abs().max() < limit


def test_half_precision_keeps_its_own_accuracy() -> None:
    images = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(4)).half()
    found = jnd_map(images)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), jnd_map(images.float()), rtol=1e-3, atol=1e-6)
