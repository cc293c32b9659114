"""The null distribution of the KS statistic against closed forms and every order of the scores."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from siren_ext.stats.ks_distribution import (
    P_FLOOR,
    _absorbed,
    asymptotic_threshold,
    exact_p,
    exact_table,
    exact_tail,
)


@pytest.mark.parametrize("h", [1, 7, 20, 39, 40])
def test_equal_sizes_closed_form(h):
    """Gnedenko and Korolyuk: for n = m the tail is C(2n, n - h) / C(2n, n)."""
    n = 40
    p = exact_tail(np.array([h]), n, n, 1)[0]
    assert p == pytest.approx(math.comb(2 * n, n - h) / math.comb(2 * n, n), rel=1e-11)


def test_tail_against_every_order():
    """Brute force over all orders of 4 and 6 scores, one- and two-sided."""
    n, m = 4, 6
    tops, extremes = [], []
    for places in itertools.combinations(range(n + m), n):
        steps = np.full(n + m, -n // 2)
        steps[list(places)] = m // 2
        walk = np.cumsum(steps)
        tops.append(max(walk.max(), 0))
        extremes.append(np.abs(walk).max())
    gaps = np.arange(math.lcm(n, m) + 1)
    for sides, values in ((1, tops), (2, extremes)):
        expected = [(np.array(values) >= g).mean() for g in gaps]
        np.testing.assert_allclose(exact_tail(gaps, n, m, sides), expected, rtol=1e-12)


@pytest.mark.parametrize("sides", [1, 2])
@pytest.mark.parametrize("n", [1, 2, 7, 60, 250])
def test_closed_form_of_equal_sizes_is_the_walk(n, sides):
    gaps = np.arange(1, n + 1)
    walk = np.clip(_absorbed(gaps, n, n, sides), P_FLOOR, 1)
    np.testing.assert_allclose(exact_tail(gaps, n, n, sides), walk, rtol=1e-11)
    assert exact_tail(np.array([0, n + 1]), n, n, sides).tolist() == [1, 0]


def test_thresholds_of_equation_8():
    unit = math.sqrt((30 + 300) / (30 * 300))
    two = [asymptotic_threshold(a, 30, 300, two_sided=True) for a in (0.1, 0.05, 0.01)]
    one = [asymptotic_threshold(a, 30, 300) for a in (0.1, 0.05, 0.01, 1e-3, 1e-4)]
    np.testing.assert_allclose(np.array(two) / unit, [1.224, 1.358, 1.628], atol=6e-4)
    np.testing.assert_allclose(np.array(one) / unit, [1.073, 1.224, 1.517, 1.858, 2.146], atol=6e-4)


@pytest.mark.parametrize(
    ("m", "expected"), [(300, (0.089, 0.048, 0.009)), (30, (0.064, 0.033, 0.007))]
)
def test_exact_size_of_the_test(m, expected):
    """The rate of false accusation is the largest attainable p that does not exceed alpha."""
    table = exact_table(30, m, 1)
    rng = np.random.default_rng(4)
    p = resampled_null(30, m, 4000, rng)
    for alpha, published in zip((0.1, 0.05, 0.01), expected, strict=True):
        size = table[table <= alpha].max()
        assert size == pytest.approx(published, abs=0.011)
        error = 3 * math.sqrt(size * (1 - size) / len(p))
        assert abs((p <= alpha).mean() - size) <= error


def resampled_null(n, m, repeats, rng):
    """p of independent innocent pools: nothing is shared between two repetitions."""
    scores = rng.normal(size=(repeats, n + m))
    order = scores.argsort(axis=1)
    steps = np.where(order < n, m // math.gcd(n, m), -(n // math.gcd(n, m)))
    return exact_p(np.maximum(np.cumsum(steps, axis=1).max(axis=1), 0), n, m, 1)
