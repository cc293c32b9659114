"""CIE Lab and CIEDE2000: published pairs, symmetry, gradients where formulas break down."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from siren_ext.metrics.colour import ciede2000, ciede2000_squared, srgb_to_lab

# Sharma, Wu, Dalal (2005), table 1: L a b, L a b, difference. The pairs were chosen by them to
# cross every branch of the formula.
SHARMA = (
    (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
    (50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615),
    (50.0, 2.8361, -74.0200, 50.0, 0.0, -82.7485, 3.4412),
    (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669),
    (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0009, 7.1792),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0010, 7.1792),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0011, 7.2195),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0012, 7.2195),
    (50.0, -0.0010, 2.4900, 50.0, 0.0009, -2.4900, 4.8045),
    (50.0, -0.0010, 2.4900, 50.0, 0.0010, -2.4900, 4.8045),
    (50.0, -0.0010, 2.4900, 50.0, 0.0011, -2.4900, 4.7461),
    (50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065),
    (50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492),
    (50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977),
    (50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030),
    (50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535),
    (50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0000),
    (50.0, 2.5, 0.0, 50.0, 3.2592, 0.3350, 1.0000),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
)
TABLE = torch.tensor(SHARMA, dtype=torch.float64)
PLAIN = (
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (0.5, 0.5, 0.5),
    (-0.2, -0.06, -1.0),
    (1.3, 2.0, 1.01),
    (1.0, 0.0, 0.0),
)


def pixels(rows: Tensor) -> Tensor:
    """n x 3 as n images of one pixel."""
    return rows.view(-1, 3, 1, 1)


def colour(*rgb: float) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize("number", range(34))
def test_published_pairs(number: int) -> None:
    row = TABLE[number]
    found = ciede2000(pixels(row[:3]), pixels(row[3:6])).item()
    assert found == pytest.approx(SHARMA[number][6], abs=1e-4)
    mirrored = ciede2000(pixels(row[3:6]), pixels(row[:3])).item()
    assert mirrored == pytest.approx(found, abs=1e-6)


def test_single_precision_is_enough() -> None:
    rows = torch.cat([TABLE[:8], TABLE[15:]])  # the others sit on a jump of the formula
    first, second = pixels(rows[:, :3]).float(), pixels(rows[:, 3:6]).float()
    found = ciede2000(first, second).flatten()
    torch.testing.assert_close(found.double(), rows[:, 6], rtol=0, atol=5e-4)


def test_squared_form_is_the_square() -> None:
    first, second = pixels(TABLE[:, :3]), pixels(TABLE[:, 3:6])
    torch.testing.assert_close(ciede2000(first, second) ** 2, ciede2000_squared(first, second))
    assert ciede2000_squared(first, first).abs().max() < 1e-12


def test_lab_of_known_colours() -> None:
    white = srgb_to_lab(colour(1, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([100.0, 0, 0]).double(), rtol=0, atol=5e-3)
    black = srgb_to_lab(colour(0, 0, 0)).flatten()
    torch.testing.assert_close(black, torch.zeros(3).double(), rtol=0, atol=1e-6)
    red = srgb_to_lab(colour(1, 0, 0)).flatten()
    expected = torch.tensor([53.24, 80.09, 67.20]).double()
    torch.testing.assert_close(red, expected, rtol=0, atol=0.02)


def test_official_scale_gives_its_dim_white() -> None:
    """The published code divides XYZ in [0,1] by a white point in [0,100]."""
    assert srgb_to_lab(colour(1, 1, 1), official_scale=True)[0, 0].item() == pytest.approx(
        8.99, abs=0.01
    )


def test_official_scale_is_about_62_times_milder() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = 0.1 + 0.8 * torch.rand(1, 3, 48, 48, generator=generator)
    clean = torch.nn.functional.avg_pool2d(clean, 9, 1, 4, count_include_pad=False)
    noise = torch.randn(clean.shape, generator=generator) * 10 ** (-40.5 / 20)
    means = [
        ciede2000_squared(
            srgb_to_lab(clean, official_scale=flag), srgb_to_lab(clean + noise, official_scale=flag)
        ).mean()
        for flag in (False, True)
    ]
    assert 30 < float(means[0] / means[1]) < 120


rgb = st.tuples(*[st.floats(0, 1, width=32)] * 3)


@given(rgb, rgb)
def test_difference_is_symmetric_and_finite(first: tuple, second: tuple) -> None:
    one, two = srgb_to_lab(colour(*first)), srgb_to_lab(colour(*second))
    there, back = ciede2000(one, two), ciede2000(two, one)
    assert torch.isfinite(there).all()
    assert 0 <= there.item() < 130
    torch.testing.assert_close(there, back, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("official", [False, True])
def test_gradcheck(official: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    first = 0.2 + 0.6 * torch.rand(1, 3, 2, 3, generator=generator, dtype=torch.float64)
    second = (first + 0.05 * torch.randn(first.shape, generator=generator)).requires_grad_(True)

    def loss(images: Tensor) -> Tensor:
        return ciede2000_squared(
            srgb_to_lab(first, official_scale=official),
            srgb_to_lab(images, official_scale=official),
        )

    assert torch.autograd.gradcheck(loss, (second,), eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("clean", PLAIN)
@pytest.mark.parametrize("shift", [0.0, 1e-6, 0.01])
def test_gradients_are_finite_everywhere(clean: tuple, shift: float) -> None:
    """Grey has no hue, black no slope, and an unclamped pixel may lie outside of [0,1]."""
    for dtype in (torch.float32, torch.float64):
        first = torch.tensor(clean, dtype=dtype).view(1, 3, 1, 1)
        second = (first + shift).requires_grad_(True)
        for form in (ciede2000_squared, ciede2000):
            (slope,) = torch.autograd.grad(
                form(srgb_to_lab(first), srgb_to_lab(second)).sum(), second
            )
            assert torch.isfinite(slope).all()
            assert slope.abs().max() < 1e5


def test_exact_grey_in_lab_has_a_finite_gradient() -> None:
    first = torch.tensor([50.0, 0, 0]).view(1, 3, 1, 1)
    for shift in (0.0, 1.0):
        second = (first + shift * torch.tensor([0, 1.0, 0]).view(1, 3, 1, 1)).requires_grad_(True)
        (slope,) = torch.autograd.grad(ciede2000_squared(first, second).sum(), second)
        assert torch.isfinite(slope).all()
        assert slope.abs().max() < 100
