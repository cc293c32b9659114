"""Patterns and coins of twins: what they depend on, how fair and how faint they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siren_ext.coating.twin_patterns import (
    PATTERN_PSNR,
    TwinSide,
    beside,
    marked_key,
)

SECRET = bytes(range(32))
SIDE, OTHER = TwinSide(SECRET), TwinSide(SECRET, published=False)


def power(change: torch.Tensor) -> torch.Tensor:
    return change.square().mean((1, 2, 3))


def test_the_two_sides_differ_in_the_sign() -> None:
    for name in ("a.png", "b/c.png", "é.png"):
        assert torch.equal(SIDE.pattern(name, 20, 32), -OTHER.pattern(name, 20, 32))
        assert SIDE.coin(name) == OTHER.coin(name)
        assert torch.equal(SIDE.pattern(name, 20, 32), TwinSide(SECRET).pattern(name, 20, 32))


def test_coins_are_fair_and_know_nothing_of_each_other() -> None:
    names = [f"{number}.png" for number in range(2000)]
    coins = np.array([SIDE.coin(name) for name in names])
    others = np.array([TwinSide(bytes(32)).coin(name) for name in names])
    for sample in (coins, others, coins ^ others, coins[1:] ^ coins[:-1]):
        assert abs(sample.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(sample))


def test_the_coin_is_not_in_the_pattern() -> None:
    """The pattern of side 0 has no sign of its own: its projection on a fixed field is fair."""
    values = []
    for number in range(400):
        name = f"{number}.png"
        side0 = SIDE.pattern(name, 16, 16) * (1 - 2 * SIDE.coin(name))
        values.append(float(side0[0, 0, 0]) * (1 - 2 * SIDE.coin(name)))
    assert abs(np.mean(np.sign(values))) < 4 / np.sqrt(len(values))


@pytest.mark.parametrize("size", [(128, 128), (100, 240), (96, 300)])
def test_patterns_are_faint_smooth_and_of_mean_zero(size: tuple[int, int]) -> None:
    pattern = SIDE.pattern("a.png", *size)
    assert pattern.shape == (3, *size)
    assert -10 * np.log10(float(pattern.square().mean())) == pytest.approx(PATTERN_PSNR, abs=1e-3)
    assert float(pattern.mean((1, 2)).abs().max()) < 1e-6
    steps = (pattern[:, :, 1:] - pattern[:, :, :-1]).square().mean()
    assert float(steps) < float(pattern.square().mean())
    assert not torch.equal(pattern, TwinSide(SECRET).pattern("b.png", *size))


def test_coating_and_pattern_stay_within_the_limit_on_both_sides() -> None:
    generator = torch.Generator().manual_seed(0)
    coating = torch.randn(2, 3, 32, 32, generator=generator)
    coating *= 10 ** (-40 / 20) / power(coating).sqrt().view(-1, 1, 1, 1)
    pattern = torch.stack([SIDE.pattern(name, 32, 32) for name in ("a", "b")])
    both = [beside(coating, sign * pattern, 40.0) for sign in (1, -1)]
    for one in both:
        assert torch.allclose(-10 * power(one).log10(), torch.tensor(40.0), atol=1e-3)
    middle = (both[0] + both[1]) / 2
    kept = (middle * coating).sum((1, 2, 3)) / coating.square().sum((1, 2, 3))
    assert (kept > 0.85).all()
    assert torch.allclose(middle, kept.view(-1, 1, 1, 1) * coating, atol=1e-6)
    free = beside(coating, pattern, 0)
    along = ((free - coating) * coating).sum((1, 2, 3)).abs()
    assert (along < 1e-3 * coating.square().sum((1, 2, 3))).all()
    weak = beside(coating * 0.1, pattern, 40.0)
    assert torch.allclose((weak * coating).sum((1, 2, 3)), 0.1 * coating.square().sum((1, 2, 3)))


def test_labels_hide_the_secret() -> None:
    assert SIDE.label == OTHER.label != TwinSide(bytes(32)).label
    assert SECRET.hex() not in repr(SIDE) + marked_key("f", SIDE)
    assert str(SECRET) not in repr(SIDE)
    assert marked_key("f", None) == "f"
