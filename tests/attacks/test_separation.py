"""How far scores are apart: right values, and intervals that cover often enough."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siren_ext.attacks.separation import cut_off, separation
from siren_ext.errors import ScoreError
from siren_ext.stats.shares import exact_interval


def test_known_areas() -> None:
    assert separation([1, 2], [3, 4]).area == 1
    assert separation([3, 4], [1, 2]).area == 0
    assert separation([1, 1], [1, 1]).area == 0.5
    assert separation([1, 3], [2, 4, 5]).area == pytest.approx(5 / 6)


def test_a_perfect_result_has_the_interval_of_a_share() -> None:
    low, high = exact_interval(48, 48)
    found = separation(range(48), range(100, 148))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert separation(range(100, 148), range(48)).high == pytest.approx(1 - low)


@pytest.mark.parametrize(("apart", "alike"), [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 0.8)])
def test_intervals_cover_the_true_area(apart: float, alike: float) -> None:
    """Also where each coated picture is a copy of an uncoated one."""
    rng, repeats, size = np.random.default_rng(1), 300, 24
    true = (1 + math.erf(apart / 2)) / 2
    covered = 0
    for _ in range(repeats):
        shared = math.sqrt(alike) * rng.normal(size=size)
        pools = shared + math.sqrt(1 - alike) * rng.normal(size=(2, size))
        found = separation(pools[0] - apart, pools[1])
        covered += found.low <= true <= found.high
    assert covered / repeats >= 0.95


@pytest.mark.parametrize(("share", "allowed"), [(0.05, 1), (0.04, 0), (0.5, 10), (0.99, 19)])
def test_no_more_than_the_share_lies_below_the_cut_off(share: float, allowed: int) -> None:
    scores = np.random.default_rng(2).normal(size=20)
    assert int((scores < cut_off(scores, share)).sum()) == allowed
    assert cut_off([1.0] * 20, 0.5) == 1


def test_pools_that_cannot_be_compared() -> None:
    with pytest.raises(ScoreError, match="scores of coated pictures have shape"):
        separation([], [1])
    with pytest.raises(ScoreError, match="1 of 2 scores of uncoated pictures are not finite"):
        separation([1], [1, math.nan])
    with pytest.raises(ScoreError, match="false_alarm is 1"):
        cut_off([1, 2], 1)
