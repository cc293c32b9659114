"""The exact p of a gap in the low end: against all orders, the usual test, bounds and chance."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siren_ext.errors import ScoreError
from siren_ext.stats.ks import ks_less
from siren_ext.stats.ks_distribution import exact_tail, smallest_exact_p
from siren_ext.stats.low_end import low_end_count
from siren_ext.stats.low_end_distribution import low_end_bounds, low_end_critical_gap, low_end_p


def gap_of(suspects: list[int], n: int, m: int, count: int) -> Fraction:
    """D+ of one order, by its definition: ``suspects`` are the ranks of the n suspect scores."""
    references = [rank for rank in range(n + m) if rank not in suspects]
    ceiling = references[count - 1]
    gaps = [
        Fraction(sum(one <= s for one in suspects), n)
        - Fraction(sum(one <= s for one in references), m)
        for s in range(n + m)
        if s < ceiling
    ]
    return max([Fraction(0), *gaps])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 6), st.integers(1, 6))
def test_p_is_the_share_of_all_orders(data: st.DataObject, n: int, m: int) -> None:
    count = data.draw(st.integers(1, m))
    orders = list(itertools.combinations(range(n + m), n))
    found = [gap_of(list(order), n, m, count) * math.lcm(n, m) for order in orders]
    for gap in range(math.lcm(n, m) + 2):
        share = Fraction(sum(one >= gap for one in found), len(orders))
        p = low_end_p(gap, n, m, count)
        assert p == pytest.approx(float(share), rel=1e-11)
        low, high = low_end_bounds(gap, n, m, count)
        assert low * (1 - 1e-11) <= p <= high * (1 + 1e-11)


def counted(gap: int, n: int, m: int, count: int) -> Fraction:
    """p by whole numbers: the orders that stay below the gap until ``count`` references."""
    a, b = m // math.gcd(n, m), n // math.gcd(n, m)
    inside = [1] + [0] * n  # orders of so many suspects and j references
    for j in range(count):
        for i in range(n + 1):
            inside[i] += inside[i - 1] if i else 0
            if a * i - b * j >= gap:
                inside[i] = 0
    stayed = 0
    # the last reference of the low end follows, and then anything
    for i, ways in enumerate(inside):
        stayed += ways * math.comb(n + m - i - count, n - i)
    return 1 - Fraction(stayed, math.comb(n + m, n))


@pytest.mark.parametrize(
    ("n", "m", "count"), [(30, 300, 75), (200, 300, 75), (97, 100, 25), (150, 60, 60), (9, 400, 1)]
)
def test_p_equals_whole_numbers_down_to_1e_300(n: int, m: int, count: int) -> None:
    for gap in np.unique(np.linspace(1, math.lcm(n, m), 9).astype(int)):
        exact = max(counted(int(gap), n, m, count), Fraction(1, 10**300))
        p = low_end_p(int(gap), n, m, count)
        assert p == pytest.approx(float(exact), rel=1e-10), gap


@pytest.mark.parametrize(
    ("n", "m"), [(30, 300), (200, 300), (97, 100), (1000, 40), (1, 50), (5, 1)]
)
def test_with_all_references_it_is_the_usual_test(n: int, m: int) -> None:
    gaps = np.unique(np.linspace(0, math.lcm(n, m) + 1, 25).astype(np.int64))
    ours = [low_end_p(int(gap), n, m, m) for gap in gaps]
    np.testing.assert_allclose(ours, exact_tail(gaps, n, m, 1), rtol=1e-11)


@given(st.integers(1, 80), st.integers(1, 120), st.floats(0.01, 1))
def test_p_falls_with_the_gap_and_grows_with_the_low_end(n: int, m: int, share: float) -> None:
    count = low_end_count(m, share)
    gaps = np.unique(np.linspace(0, math.lcm(n, m), 12).astype(int))
    p = np.array([low_end_p(int(gap), n, m, count) for gap in gaps])
    assert p[0] == 1
    assert (np.diff(p) <= 1e-12 * p[1:]).all()
    whole = exact_tail(gaps.astype(np.int64), n, m, 1)
    assert (p <= whole * (1 + 1e-10)).all()
    assert p[-1] == pytest.approx(smallest_exact_p(n, m, 1), rel=1e-10)
    assert low_end_p(math.lcm(n, m) + 1, n, m, count) == 0


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6, 1e-40])
@pytest.mark.parametrize(("n", "m"), [(30, 300), (200, 300), (400, 100), (3, 4)])
def test_the_critical_gap_is_the_first_that_reaches_alpha(alpha: float, n: int, m: int) -> None:
    count, lcm = low_end_count(m), math.lcm(n, m)
    gap = low_end_critical_gap(alpha, n, m, count)
    assert low_end_p(gap, n, m, count) <= alpha < low_end_p(gap - 1, n, m, count)
    found = ks_less(np.arange(n), np.arange(m) + 0.5, share=0.25)
    assert found.critical(alpha) == (gap / lcm if gap <= lcm else math.inf)


def test_bounds_hold_and_are_near_for_many_scores() -> None:
    for n, m in ((2000, 3000), (1000, 1000), (500, 8000)):
        for d in (0.02, 0.05, 0.2):
            gap, count = round(d * math.lcm(n, m)), low_end_count(m)
            low, high = low_end_bounds(gap, n, m, count)
            p = low_end_p(gap, n, m, count)
            assert low <= p <= high
            assert p < 60 * low or p == 1e-300
    assert low_end_bounds(0, 3, 4, 1) == (1, 1)
    assert low_end_bounds(13, 3, 4, 1) == (0, 0)
    assert low_end_bounds(200_000, 200_000, 200_000, 50_000) == (1e-300, 1e-300)


@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize(("n", "m", "share"), [(30, 100, 0.25), (60, 40, 0.1), (25, 25, 0.6)])
def test_no_more_false_alarms_than_alpha(n: int, m: int, share: float, digits: int | None) -> None:
    """Sizes by simulation: near the exact one without ties, lower with ties, never above alpha."""
    rng, runs = np.random.default_rng(1), 4000
    p = []
    for _ in range(runs):
        scores = rng.normal(size=n + m)
        scores = scores if digits is None else scores.round(digits)
        p.append(ks_less(scores[:n], scores[n:], share=share).p_value)
    count = low_end_count(m, share)
    for alpha in (0.05, 0.01):
        exact = low_end_p(low_end_critical_gap(alpha, n, m, count), n, m, count)
        noise = 4 * math.sqrt(exact / runs)
        rate = float(np.mean(np.array(p) <= alpha))
        assert rate <= exact + noise
        assert exact <= alpha
        assert digits is not None or rate >= exact - noise


def test_the_test_is_stronger_than_the_upper_bound() -> None:
    """200 against 300 scores, half a standard deviation: what the upper bound gives away."""
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(-0.5, 1, 200), rng.normal(size=300)) for _ in range(300)]
    exact = [ks_less(*pair, share=0.25).p_value for pair in pairs]
    bound = [ks_less(*pair, share=0.25, bound=True).p_value for pair in pairs]
    assert (np.array(exact) <= bound).all()
    power = [float(np.mean(np.array(p) <= 1e-6)) for p in (exact, bound)]
    assert power[0] > power[1] + 0.1


def test_a_bound_is_the_p_of_a_gap_anywhere() -> None:
    rng = np.random.default_rng(3)
    suspect, reference = rng.normal(-0.7, 1, 40), rng.normal(size=90)
    exact = ks_less(suspect, reference, share=0.25)
    bound = ks_less(suspect, reference, share=0.25, bound=True)
    assert exact.statistic == bound.statistic
    assert (exact.searched, bound.searched) == (23, None)
    assert exact.to_dict()["searched"] == 23
    assert "searched" not in bound.to_dict()
    gap = round(bound.statistic * math.lcm(40, 90))
    assert bound.p_value == pytest.approx(exact_tail(np.array([gap]), 40, 90, 1)[0])
    assert ks_less(suspect, reference).searched is None
    large = ks_less(suspect, reference, share=0.25, method="asymptotic")
    assert large.searched is None
    assert large.p_value > exact.p_value


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ScoreError, match="share"):
        low_end_count(10, 0)
