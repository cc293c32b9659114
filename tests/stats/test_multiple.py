"""Corrections for several tests against their definitions, SciPy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.errors import ScoreError
from siren_ext.stats.multiple import benjamini_hochberg, holm

some_p = st.lists(
    st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.01, 0.05, 1.0])),
    min_size=1,
    max_size=12,
)


def holm_by_definition(p, alpha):
    """Step down: stop at the first ordered p that, times the tests left, is above alpha."""
    rejected = [False] * len(p)
    for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[index] * (len(p) - step) > alpha:
            break
        rejected[index] = True
    return rejected


def bh_by_definition(p, alpha):
    """Step up: the largest i with ordered p times k / i <= alpha, and all below it."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    passing = [i for i, index in enumerate(order, 1) if p[index] * len(p) / i <= alpha]
    kept = set(order[: max(passing, default=0)])
    return [i in kept for i in range(len(p))]


@pytest.mark.parametrize(
    ("method", "definition"), [(holm, holm_by_definition), (benjamini_hochberg, bh_by_definition)]
)
@given(p=some_p, alpha=st.sampled_from([0.0301, 0.0503, 0.2007]))
def test_decisions_are_those_of_the_definition(method, definition, p, alpha):
    result = method(p, alpha=alpha)
    assert list(result.rejected) == definition(p, alpha)
    assert all(
        0 <= a <= 1 and a >= q * (1 - 1e-12) for a, q in zip(result.adjusted, p, strict=True)
    )


def test_published_example():
    """Holm by hand; ties and order are kept."""
    result = holm([0.01, 0.04, 0.03, 0.005], alpha=0.05)
    assert result.adjusted == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert result.rejected == (True, False, False, True)
    assert result.to_dict()["method"] == "holm"


@pytest.mark.skipif(
    not hasattr(scipy.stats, "false_discovery_control"), reason="SciPy older than 1.11"
)
@given(p=some_p)
def test_adjusted_p_equal_scipy(p):
    expected = scipy.stats.false_discovery_control(p)
    np.testing.assert_allclose(benjamini_hochberg(p).adjusted, expected, atol=1e-12)


def test_risks_hold_under_dependence():
    """20 tests of which 5 have an effect, all pushed by one common factor."""
    rng = np.random.default_rng(2)
    normal = scipy.stats.norm
    any_false, shares = 0, []
    for _ in range(2000):
        z = 0.7 * rng.normal() + math.sqrt(0.51) * rng.normal(size=20)
        z[:5] += 3
        p = normal.sf(z)
        any_false += any(holm(p, alpha=0.1).rejected[5:])
        found = np.array(benjamini_hochberg(p, alpha=0.1).rejected)
        shares.append(found[5:].sum() / max(1, found.sum()))
    assert any_false / 2000 <= 0.1 + 3 * math.sqrt(0.09 / 2000)
    assert np.mean(shares) <= 0.1
    assert np.mean(shares) > 0.01


@pytest.mark.parametrize("method", [holm, benjamini_hochberg])
def test_bad_p_are_named(method):
    with pytest.raises(ScoreError, match="expected 0 to 1"):
        method([0.5, 1.5])
    with pytest.raises(ScoreError, match="p-values have shape"):
        method([])
    with pytest.raises(ScoreError, match="alpha is 1"):
        method([0.5], alpha=1)
