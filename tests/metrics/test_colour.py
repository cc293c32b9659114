"""CIE Lab and CIEDE2000: published pairs, symmetry, gradients where formulas break down."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import assume, given, settings
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


# rgb_ciede2000_color_difference(clean, coated, squared=True) of lib/color_l2.py in SIREN's public
# code; some coated values lie outside of [0,1]
OFFICIAL_PAIRS = (
    ((0.2, 0.5, 0.7), (0.02, -0.01, 0.03), 0.57248),
    ((0.9, 0.1, 0.1), (-0.02, 0.02, 0.01), 0.154484),
    ((0.0, 0.0, 0.0), (0.01, -0.03, -0.04), 0.00163452),
    ((1.0, 1.0, 1.0), (0.03, 0.02, -0.01), 0.767109),
    ((0.5, 0.5, 0.5), (0.02, 0.02, 0.02), 0.00997587),
    ((0.02, 0.01, 0.05), (-0.03, 0.01, -0.02), 0.00355629),
    ((0.3, 0.3, 0.9), (0.01, 0.02, -0.05), 1.143),
    ((0.98, 0.99, 1.0), (0.05, 0.04, 0.03), 0.356318),
)


@pytest.mark.parametrize(("clean", "change", "expected"), OFFICIAL_PAIRS)
def test_official_form_is_that_of_the_code(
    clean: tuple[float, ...], change: tuple[float, ...], expected: float
) -> None:
    first = srgb_to_lab(colour(*clean), official_scale=True)
    second = srgb_to_lab(colour(*clean) + colour(*change), official_scale=True)
    found = ciede2000_squared(first, second, official=True).item()
    assert found == pytest.approx(expected, rel=2e-4)  # the code computes in single precision


def test_official_form_has_a_gradient_outside_of_the_range() -> None:
    """Where the published code's is not a number, below -0.055, too."""
    first = colour(0.0, 0.5, 1.0)
    second = colour(-0.2, 0.5, 1.2)

    def form(images: Tensor) -> Tensor:
        lab = (srgb_to_lab(image, official_scale=True) for image in (first, images))
        return ciede2000_squared(*lab, official=True).flatten()

    found = slope(form, second)
    torch.testing.assert_close(found, _central(form, second, 1e-6), rtol=1e-4, atol=1e-6)
    assert (found[0, [0, 2]] != 0).all()


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


def squared(first: Tensor, second: Tensor, official: bool = False) -> Tensor:
    """Squared differences of n x 3 x 1 x 1 sRGB pixels, n."""
    lab = (srgb_to_lab(image, official_scale=official) for image in (first, second))
    return ciede2000_squared(*lab).flatten()


def slope(form: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Gradient of every pixel by autograd, n x 3."""
    at = at.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(form(at).sum(), at)
    return found.flatten(1)


def differences(form: Callable[[Tensor], Tensor], at: Tensor, step: float) -> Tensor:
    """The same by finite differences: central, and one-sided where [0,1] ends next to a pixel."""
    found = []
    for channel in range(3):
        way = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
        way[0, channel] = step
        here = at[:, channel].flatten()
        central = (form(at + way) - form(at - way)) / (2 * step)
        inwards = torch.where(here > 0.5, -1.0, 1.0).double()
        moved = way * inwards.view(-1, 1, 1, 1)
        once, twice = form(at + moved), form(at + 2 * moved)
        one_sided = inwards * (4 * once - 3 * form(at) - twice) / (2 * step)
        edge = (here - 0.5).abs() > 0.5 - 2 * step
        found.append(torch.where(edge, one_sided, central))
    return torch.stack(found, 1)


def worst(form: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Disagreement of each pixel's gradient with the best of some finite differences, relative.

    Too large a step leaves the neighbourhood, too small a one is lost in rounding.
    """
    exact = slope(form, at)
    size = 1 + exact.abs().amax(1)
    tries = [(differences(form, at, 10**-e) - exact).abs().amax(1) / size for e in (6, 7, 8, 9)]
    return torch.stack(tries).amin(0)


def test_gradient_where_a_coated_pixel_is_black() -> None:
    """It has no hue; the slope of the hue once made the gradient 8e4 instead of 4e2."""
    clean, black = colour(4 / 255, 0, 6 / 255), colour(0, 0, 0)

    def form(images: Tensor) -> Tensor:
        return squared(clean, images)

    found = slope(form, black)
    torch.testing.assert_close(found, differences(form, black, 1e-9), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(found, differences(form, black, 1e-4), rtol=0.1, atol=0)
    assert 300 < found[0, 0].abs() < 600


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("pair", ["any", "dark", "black", "to black", "grey", "close", "equal"])
def test_gradients_agree_with_finite_differences(pair: str, official: bool) -> None:
    """Pixels of eight bits, as they come in pictures, in every kind of delicate place."""
    generator = torch.Generator().manual_seed(5)

    def draw(low: int, high: int, channels: int = 3) -> Tensor:
        steps = torch.randint(low, high + 1, (1500, channels, 1, 1), generator=generator)
        return steps.double().expand(-1, 3, -1, -1)

    first = {
        "dark": draw(0, 6), "black": draw(0, 0), "to black": draw(0, 12), "grey": draw(0, 255, 1),
    }.get(pair, draw(0, 255))  # fmt: skip
    second = {
        "any": draw(0, 255), "dark": draw(0, 6), "black": draw(0, 255), "to black": draw(0, 0),
        "equal": first,
    }.get(pair, first + draw(-4, 4))  # fmt: skip
    second = second.clamp(0, 255) / 255
    found = worst(lambda images: squared(first / 255, images, official), second)
    assert found.max() < 1e-4


@settings(max_examples=40)
@given(rgb, st.tuples(*[st.floats(-0.02, 0.02)] * 3))
def test_gradients_of_any_coating_agree_with_finite_differences(
    clean: tuple, change: tuple
) -> None:
    first = colour(*clean)
    second = (first + colour(*change)).clamp(0, 1)
    bend = 0.04045  # where the two parts of sRGB's curve meet, with a step of 1e-8
    assume(all(abs(value - bend) > 1e-5 for value in second.flatten().tolist()))
    assert worst(lambda images: squared(first, images), second).max() < 1e-3


DELICATE = {
    "grey against a colour": ((50, 3, -4), (50, 0, 0)),
    "a colour against grey": ((50, 0, 0), (50, 3, -4)),
    "both grey": ((50, 0, 0), (52, 0, 0)),
    "equal": ((50, 3, -4), (50, 3, -4)),
    "equal and grey": ((50, 0, 0), (50, 0, 0)),
    "within a hair of grey": ((50, 3, -4), (50, 3e-5, 5e-5)),
    "at the rounding's edge": ((50, 3, -4), (50, 0, 1.001e-4)),
    "both within a hair": ((50, 2e-5, 4e-5), (50, -5e-5, 1e-5)),
    "hues on either side of zero": ((50, 20, 1), (50, 20, -1.5)),
    "hue of zero": ((50, 20, 5), (50, 20, 0)),
    "hue of half a turn": ((50, -20, 5), (50, -20, 0)),
    "no a": ((50, 1, 20), (50, 0, 20)),
    "no a, blue": ((50, 2, -60), (50, 0, -60)),
    "no lightness": ((2, 1, -1), (0, 0, 0)),
    "no lightness, a colour": ((0, 1, -1), (0, 1, 2)),
    "mean lightness of 50": ((48, 10, 10), (52, 12, 9)),
    "mean hue at the blue turn": ((40, 20, -50), (41, -8, -45)),
}


@pytest.mark.parametrize("place", DELICATE)
def test_gradients_in_lab_agree_with_finite_differences(place: str) -> None:
    first, second = (colour(*lab) for lab in DELICATE[place])
    for one, two in ((first, second), (second, first)):

        def form(lab: Tensor, one: Tensor = one) -> Tensor:
            return ciede2000_squared(one, lab).flatten()

        exact = slope(form, two)
        found = torch.cat([_central(form, two, 10**-e) for e in (5, 6, 7)])
        gap = ((found - exact).abs().amax(1) / (1 + exact.abs().max())).min()
        assert gap < 1e-4


def _central(form: Callable[[Tensor], Tensor], at: Tensor, step: float) -> Tensor:
    ways = step * torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    return ((form(at + ways) - form(at - ways)) / (2 * step)).view(1, 3)


def test_grey_is_approached_without_a_jump() -> None:
    """From any side: the smooth part next to grey joins the exact one."""
    first = colour(50, 3, -4)
    turn = torch.linspace(0, 6.28, 40, dtype=torch.float64)
    for size in (1e-9, 0.9999e-4):
        there = size * torch.stack((0 * turn, turn.cos(), turn.sin()), 1).view(-1, 3, 1, 1)
        inside = ciede2000_squared(first, colour(50, 0, 0) + there)
        outside = ciede2000_squared(first, colour(50, 0, 0) + there * 1.0003)
        torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5)
    grey = ciede2000_squared(first, colour(50, 0, 0))
    torch.testing.assert_close(grey, inside.mean().expand_as(grey), rtol=0, atol=1e-2)
