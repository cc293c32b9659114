"""Image quality measures against kornia, closed forms and common sense."""

from __future__ import annotations

import math

import pytest
import torch

from siren_ext.errors import ImageError
from siren_ext.metrics.quality import (
    colour_difference,
    local_colour_difference,
    local_de00_p99,
    psnr,
    ssim,
)


def pair(seed=0, shape=(3, 3, 40, 52), noise=0.05):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(shape, generator=generator)
    clean = torch.nn.functional.avg_pool2d(clean, 5, 1, 2)
    return clean, (clean + noise * torch.randn(shape, generator=generator)).clamp(0, 1)


def test_psnr_of_a_known_error():
    clean = torch.full((2, 3, 8, 8), 0.5)
    other = clean.clone()
    other[0] += 0.1
    other[1] += 0.01
    torch.testing.assert_close(
        psnr(clean, other), torch.tensor([20.0, 40.0]).double(), atol=1e-5, rtol=0
    )
    assert torch.isinf(psnr(clean, clean)).all()


@pytest.mark.parametrize("noise", [0.002, 0.05, 0.3])
def test_ssim_and_psnr_agree_with_kornia(noise):
    metrics = pytest.importorskip("kornia.metrics")
    clean, other = pair(noise=noise)
    expected = metrics.ssim(clean, other, 11, padding="valid").mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(clean, other).float(), expected, atol=2e-5, rtol=0)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    grey = [(image * weights).sum(1, keepdim=True) for image in (clean, other)]
    expected = metrics.ssim(*grey, 11, padding="valid").mean(dim=(1, 2, 3))
    torch.testing.assert_close(ssim(clean, other, on="luma").float(), expected, atol=2e-5, rtol=0)
    expected = torch.stack([metrics.psnr(c, o, 1.0) for c, o in zip(clean, other, strict=True)])
    torch.testing.assert_close(psnr(clean, other).float(), expected, atol=1e-3, rtol=0)


def test_every_image_is_judged_on_its_own():
    clean, other = pair()
    for measure in (psnr, ssim, local_de00_p99):
        together = measure(clean, other)
        alone = torch.cat([measure(clean[i : i + 1], other[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(together, alone)
        assert together.shape == (3,)


def test_equal_images():
    clean, _ = pair()
    torch.testing.assert_close(ssim(clean, clean), torch.ones(3).double())
    assert local_de00_p99(clean, clean).max() < 1e-2


def test_colour_difference_of_greys():
    """Two greys differ by their lightness over S_L alone."""
    clean = torch.full((1, 3, 4, 4), 118 / 255)
    other = torch.full((1, 3, 4, 4), 121 / 255)
    delta = colour_difference(clean, other)
    assert delta.shape == (1, 4, 4)
    assert float(delta.mean()) == pytest.approx(1.17, abs=0.05)


def test_local_difference_hides_grain_and_shows_tint():
    """At the same PSNR a tinted patch is far more visible than zero-mean grain."""
    clean = torch.full((1, 3, 64, 64), 0.5)
    sign = (torch.arange(64).view(-1, 1) + torch.arange(64)).remainder(2) * 2 - 1
    grain = clean + 0.02 * sign
    patch = clean.clone()
    patch[:, 0, :32, :32] += 0.04 * math.sqrt(3)
    assert float(psnr(clean, grain)) == pytest.approx(float(psnr(clean, patch)), abs=0.01)
    assert float(local_de00_p99(clean, grain)) < 0.5
    assert float(local_de00_p99(clean, patch)) > 3
    assert local_colour_difference(clean, patch).shape == (1, 64, 64)


def test_percentile_counts_pixels():
    clean = torch.full((1, 3, 100, 100), 0.5)
    small, large = clean.clone(), clean.clone()
    small[:, :, :1, :1] = 0.9  # reaches 25 blurred pixels of 10,000: below the 99th percentile
    large[:, :, :20, :20] = 0.9
    assert float(local_de00_p99(clean, small)) < 1e-2
    assert float(local_de00_p99(clean, large)) > 10


def test_wrong_shapes_are_named():
    clean, _ = pair()
    with pytest.raises(ImageError, match="expected two batches of the same shape"):
        psnr(clean, clean[:, :, 1:])
    with pytest.raises(ImageError, match="at least 11 x 11"):
        ssim(clean[..., :10], clean[..., :10])


def test_large_images_are_measured_in_strips(monkeypatch):
    """Strips save memory and change nothing."""
    clean, other = pair()
    whole = [ssim(clean, other), local_colour_difference(clean, other), psnr(clean, other)]
    monkeypatch.setattr("siren_ext.metrics.quality._STRIP_PIXELS", 3 * 52 * 7)
    parts = [ssim(clean, other), local_colour_difference(clean, other), psnr(clean, other)]
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
