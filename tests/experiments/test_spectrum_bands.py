"""Bands of frequency and colour."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siren_ext.experiments.spectrum_bands import AXES, BANDS, OWNER, PSNR, band_pictures, shares


def test_bands_are_equally_strong_and_give_the_psnr_together() -> None:
    pictures = band_pictures(128)
    assert pictures.shape == (len(OWNER), 3, 128, 128)
    assert len(OWNER) == sum(band.patterns for band in BANDS) > len(BANDS)
    patterns = pictures.square().mean((1, 2, 3))
    powers = torch.stack([patterns[place == OWNER].sum() for place in range(len(BANDS))])
    torch.testing.assert_close(powers, powers.mean().expand(len(BANDS)))
    error = float(pictures.sum(0).square().mean())
    assert abs(-10 * np.log10(error) - PSNR) < 0.3  # they overlap by chance only
    assert torch.equal(pictures, band_pictures(128))


def test_bands_hold_their_colours_and_frequencies() -> None:
    pictures = band_pictures(128).double()
    for place, picture in zip(OWNER, pictures, strict=True):
        band = BANDS[place]
        colour = torch.tensor(AXES[band.axis], dtype=torch.float64)
        grey = torch.einsum("c,chw->hw", colour / colour.norm(), picture)
        left = picture - (colour / colour.norm())[:, None, None] * grey
        assert float(left.abs().max()) < 1e-6
        if not band.high:
            assert float(grey.std()) < 1e-6
            continue
        mirrored = torch.cat([grey, grey.flip(1)], 1)
        both = torch.cat([mirrored, mirrored.flip(0)], 0)
        power = torch.fft.fft2(both).abs() ** 2
        cycles = torch.fft.fftfreq(256, 1 / 256) / 2
        radius = (cycles[:, None] ** 2 + cycles[None] ** 2).sqrt()
        inside = (radius > band.low - 1e-9) & (radius <= band.high + 1e-9)
        assert float(power[inside].sum() / power.sum()) > 0.999


def test_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="60 pixels can't hold 32 cycles"):
        band_pictures(60)


def test_shares_are_found_of_overlapping_bands() -> None:
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((5, 40)) + 0.5 * rng.standard_normal(40)
    wanted = rng.standard_normal((7, 5))
    np.testing.assert_allclose(shares(wanted @ latents, latents), wanted, atol=1e-4)
