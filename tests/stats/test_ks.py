"""The Kolmogorov-Smirnov tests against SciPy, closed forms and simulation."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from siren_ext.errors import ScoreError
from siren_ext.stats.ks import ks_less, ks_two_sided
from siren_ext.stats.ks_distribution import asymptotic_p, exact_tail

# Few distinct values, so that ties within and across samples are the rule.
tied = st.lists(st.integers(0, 12).map(lambda v: v / 4), min_size=1, max_size=40)
plain = st.lists(
    st.floats(-1e6, 1e6, allow_nan=False, allow_infinity=False), min_size=1, max_size=40
)


@settings(max_examples=150, deadline=None)
@given(first=st.one_of(tied, plain), second=st.one_of(tied, plain))
def test_exact_p_equals_scipy_with_and_without_ties(first, second):
    for ours, side in ((ks_less, "greater"), (ks_two_sided, "two-sided")):
        result = ours(first, second, method="exact")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            expected = ks_2samp(first, second, alternative=side, method="exact")
        if caught:  # SciPy's exact path rounded above 1 and fell back on the asymptotic formula
            assert result.p_value > 1 - 1e-9
            continue
        assert result.statistic == pytest.approx(max(expected.statistic, 0), abs=1e-12)
        assert result.p_value == pytest.approx(expected.pvalue, abs=1e-9)
        assert result.method == "exact"


@pytest.mark.parametrize(("n", "m"), [(5, 9), (30, 300), (41, 97), (300, 30), (60, 60), (1, 7)])
def test_tiny_p_keep_their_digits(n, m):
    """Complete separation has the closed form 1 / C(n + m, n), also far below 1e-16."""
    result = ks_less(np.arange(n) - 1e3, np.arange(m))
    assert result.statistic == 1.0
    assert result.p_value == pytest.approx(1 / math.comb(n + m, n), rel=1e-9)
    assert result.p_value == pytest.approx(result.smallest_p, rel=1e-9)


def test_facts_of_the_method():
    low, high = np.linspace(0, 1, 30), np.linspace(10, 20, 300)
    assert ks_less(low, high).p_value == pytest.approx(2.87e-43, rel=2e-3)
    assert ks_two_sided(low, high).p_value == pytest.approx(5.75e-43, rel=2e-3)
    assert ks_less(high[:30], low).p_value == 1.0
    assert ks_less(low, high[:30]).p_value == pytest.approx(8.46e-18, rel=1e-3)
    assert ks_less(low[:10], high).p_value == pytest.approx(5.13e-19, rel=1e-3)


def test_direction_only_smaller_scores_count():
    rng = np.random.default_rng(1)
    reference = rng.normal(size=200)
    assert ks_less(rng.normal(-2, 1, 50), reference).p_value < 1e-9
    assert ks_less(rng.normal(+2, 1, 50), reference).p_value > 0.9
    assert ks_two_sided(rng.normal(+2, 1, 50), reference).p_value < 1e-9


@settings(max_examples=50, deadline=None)
@given(first=plain, second=plain)
def test_only_the_order_of_scores_matters(first, second):
    """A monotone map of all scores (paper's distance or pseudo-Huber) changes nothing."""
    ranks = np.unique([*first, *second], return_inverse=True)[1]
    a, b = ks_less(first, second), ks_less(ranks[: len(first)], ranks[len(first) :])
    assert (a.statistic, a.p_value, a.ties) == (b.statistic, b.p_value, b.ties)


def test_location_and_ties():
    result = ks_less([1.0, 2.0, 2.0, 9.0], [3.0, 4.0, 4.0, 10.0])
    assert (result.statistic, result.location, result.ties) == (0.75, 2.0, 2)
    assert ks_less([5.0], [1.0]).location is None
    assert json.loads(json.dumps(result.to_dict()))["n"] == 4


@pytest.mark.parametrize("test", [ks_less, ks_two_sided])
@pytest.mark.parametrize("method", ["exact", "asymptotic"])
@pytest.mark.parametrize("alpha", [0.1, 1e-3, 1e-6])
def test_critical_is_where_p_crosses_alpha(test, method, alpha):
    n, m = 30, 100
    rng = np.random.default_rng(2)
    wall = test(rng.normal(size=n), rng.normal(size=m), method=method).critical(alpha)
    assert 0 < wall < 1
    sides = 1 if test is ks_less else 2
    if method == "exact":
        gap = round(wall * math.lcm(n, m))
        at, under = exact_tail(np.array([gap, gap - 1]), n, m, sides)
    else:
        at = asymptotic_p(wall * (1 + 1e-9), n, m, sides)
        under = asymptotic_p(wall * (1 - 1e-6), n, m, sides)
    assert at <= alpha < under


def test_unreachable_level_has_no_critical_value():
    result = ks_less([1.0, 2.0], [3.0, 4.0])
    assert result.critical(1e-6) == math.inf
    assert result.smallest_p == pytest.approx(1 / 6)


def test_asymptotic_equals_scipy():
    rng = np.random.default_rng(3)
    first, second = rng.normal(-0.2, 1, 300), rng.normal(size=500)
    for ours, side in ((ks_less, "greater"), (ks_two_sided, "two-sided")):
        expected = ks_2samp(first, second, alternative=side, method="asymp").pvalue
        assert ours(first, second, method="asymptotic").p_value == pytest.approx(expected, rel=1e-9)


def test_very_small_p_is_a_floor_not_zero():
    result = ks_less(np.arange(600) - 1e6, np.arange(900))
    assert result.p_value == result.smallest_p == 1e-300


@pytest.mark.parametrize(
    ("suspect", "reference", "words"),
    [
        ([], [1.0], "suspect scores have shape"),
        ([1.0], [[1.0]], "reference scores have shape"),
        ([1.0, float("nan")], [1.0], "1 of 2 suspect scores are not finite"),
        ([1.0], [float("inf")], "reference scores are not finite"),
    ],
)
def test_bad_scores_are_named(suspect, reference, words):
    with pytest.raises(ScoreError, match=words):
        ks_less(suspect, reference)


def test_bad_settings_are_named():
    with pytest.raises(ScoreError, match="expected 'auto'"):
        ks_less([1.0], [2.0], method="fast")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="alpha is 2"):
        ks_less([1.0], [2.0]).critical(2)
