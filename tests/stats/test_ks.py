"""The Kolmogorov-Smirnov tests against SciPy, closed forms and simulation."""

from __future__ import annotations

import itertools
import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from siren_ext.errors import ScoreError
from siren_ext.stats import ks
from siren_ext.stats.draw import draw_subsets
from siren_ext.stats.ks import PAPER_ALPHAS, ks_less, ks_two_sided, resampled_ks

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


@pytest.mark.parametrize("h", [1, 7, 20, 39, 40])
def test_equal_sizes_closed_form(h):
    """Gnedenko and Korolyuk: for n = m the tail is C(2n, n - h) / C(2n, n)."""
    n = 40
    p = ks._tail(np.array([h]), n, n, 1)[0]
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
        np.testing.assert_allclose(ks._tail(gaps, n, m, sides), expected, rtol=1e-12)


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
        at, under = ks._tail(np.array([gap, gap - 1]), n, m, sides)
    else:
        at = ks._p_asymptotic(wall * (1 + 1e-9), n, m, sides)
        under = ks._p_asymptotic(wall * (1 - 1e-6), n, m, sides)
    assert at <= alpha < under


def test_unreachable_level_has_no_critical_value():
    result = ks_less([1.0, 2.0], [3.0, 4.0])
    assert result.critical(1e-6) == math.inf
    assert result.smallest_p == pytest.approx(1 / 6)


def test_thresholds_of_equation_8():
    unit = math.sqrt((30 + 300) / (30 * 300))
    two = [ks.asymptotic_threshold(a, 30, 300, two_sided=True) for a in (0.1, 0.05, 0.01)]
    one = [ks.asymptotic_threshold(a, 30, 300) for a in (0.1, 0.05, 0.01, 1e-3, 1e-4)]
    np.testing.assert_allclose(np.array(two) / unit, [1.224, 1.358, 1.628], atol=6e-4)
    np.testing.assert_allclose(np.array(one) / unit, [1.073, 1.224, 1.517, 1.858, 2.146], atol=6e-4)


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
    ("m", "expected"), [(300, (0.089, 0.048, 0.009)), (30, (0.064, 0.033, 0.007))]
)
def test_exact_size_of_the_test(m, expected):
    """The rate of false accusation is the largest attainable p that does not exceed alpha."""
    table = ks._table(30, m, 1)
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
    return ks._p_exact(np.maximum(np.cumsum(steps, axis=1).max(axis=1), 0), n, m, 1)


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("reference_size", [None, 20])
def test_resampled_p_equal_scipy(two_sided, redraw, reference_size):
    """With whole pools or replayed draws, every p of the study is SciPy's on the same subset."""
    rng = np.random.default_rng(5)
    suspect = np.round(rng.normal(-0.5, 1, 40), 1)  # many ties
    reference = np.round(rng.normal(size=35), 1)
    result = resampled_ks(
        suspect,
        reference,
        size=12,
        repeats=150,
        reference_size=reference_size,
        redraw_reference=redraw,
        two_sided=two_sided,
        rng=np.random.default_rng(6),
    )
    replay = np.random.default_rng(6)
    s, r = np.sort(suspect), np.sort(reference)
    m = reference_size or len(r)
    assert (result.size, result.reference_size, result.redrawn) == (12, m, redraw and m < len(r))
    if m < len(r) and not redraw:
        r = r[draw_subsets(1, len(r), m, replay)[0]]
    chosen = draw_subsets(150, 40, 12, replay)
    kept = draw_subsets(150, len(r), m, replay) if m < len(r) else np.ones((150, len(r)), bool)
    side = "two-sided" if two_sided else "greater"
    expected = [
        ks_2samp(s[a], r[b], alternative=side, method="exact").pvalue
        for a, b in zip(chosen, kept, strict=True)
    ]
    np.testing.assert_allclose(result.p_values, expected, atol=1e-9)


def test_resampling_is_seeded_and_tpr_is_monotone():
    rng = np.random.default_rng(7)
    suspect, reference = rng.normal(-1, 1, 300), rng.normal(size=400)
    first, again = (
        resampled_ks(suspect, reference, repeats=500, rng=np.random.default_rng(8))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.p_values, again.p_values)
    curve = first.tpr()
    assert len(PAPER_ALPHAS) == 39
    assert PAPER_ALPHAS[0] == 0.1
    assert PAPER_ALPHAS[-1] == 1e-20
    assert (np.diff(PAPER_ALPHAS) < 0).all()
    assert (np.diff(curve) <= 0).all()
    assert curve[0] > 0.9 > curve[-1]


def test_power_guide():
    """30 against 300 normal scores lowered by k sigma (measured figures of the method)."""
    rng = np.random.default_rng(9)
    for shift, alpha, expected in ((1, 1e-2, 0.98), (1, 1e-4, 0.70), (2, 1e-9, 0.98)):
        p = []
        for _ in range(10):
            pools = rng.normal(-shift, 1, 3000), rng.normal(size=3000)
            p.append(resampled_ks(*pools, repeats=200, rng=rng).tpr([alpha])[0])
        assert np.mean(p) == pytest.approx(expected, abs=0.05)


def test_subsets_are_uniform_and_without_replacement():
    rng = np.random.default_rng(10)
    for size in (3, 8):
        chosen = draw_subsets(20_000, 10, size, rng)
        assert (chosen.sum(axis=1) == size).all()
        share, p = chosen.mean(axis=0), size / 10
        assert np.abs(share - p).max() < 5 * math.sqrt(p * (1 - p) / 20_000)
        pair = (chosen[:, 0] & chosen[:, 9]).mean()
        q = size * (size - 1) / 90
        assert abs(pair - q) < 5 * math.sqrt(q * (1 - q) / 20_000)


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
    rng = np.random.default_rng(0)
    with pytest.raises(ScoreError, match="Subsets of 30 suspect scores"):
        resampled_ks(np.arange(5.0), np.arange(50.0), rng=rng)
    with pytest.raises(ScoreError, match="Subsets of 60 reference"):
        resampled_ks(np.arange(50.0), np.arange(50.0), reference_size=60, rng=rng)
    with pytest.raises(ScoreError, match="expected 'auto'"):
        ks_less([1.0], [2.0], method="fast")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="alpha is 2"):
        ks_less([1.0], [2.0]).critical(2)
