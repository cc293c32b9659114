"""Exact intervals of shares, and what models of one cluster are worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from siren_ext.errors import ScoreError
from siren_ext.stats.shares import clustering, exact_interval


@pytest.mark.parametrize(("count", "total"), [(0, 44), (15, 44), (44, 44), (1, 3), (2, 1000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_is_that_of_clopper_and_pearson(
    count: int, total: int, confidence: float
) -> None:
    known = binomtest(count, total).proportion_ci(confidence, "exact")
    assert exact_interval(count, total, confidence) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize(("count", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_share_is_refused(count: int, total: int) -> None:
    with pytest.raises(ScoreError, match="not a possible share"):
        exact_interval(count, total)


def test_the_correlation_is_found_again() -> None:
    rng = np.random.default_rng(0)
    names = [str(place) for place in range(400) for _ in range(5)]
    shared = np.repeat(rng.normal(size=400), 5)
    values = np.sqrt(0.6) * shared + np.sqrt(0.4) * rng.normal(size=2000)
    found = clustering(values, names)
    assert found.correlation == pytest.approx(0.6, abs=0.05)
    assert found.worth == pytest.approx(2000 / (1 + 4 * found.correlation))
    assert (found.values, found.clusters) == (2000, 400)
    alone = clustering(rng.normal(size=2000), names)
    assert abs(alone.correlation) < 0.05
    assert alone.worth > 1700


def test_equal_values_of_a_cluster_count_once() -> None:
    found = clustering([1.0, 1.0, 1.0, 5.0, 5.0, 5.0], ["a"] * 3 + ["b"] * 3)
    assert found.correlation == pytest.approx(1)
    assert found.worth == pytest.approx(2)


@pytest.mark.parametrize("names", [["a", "a", "a"], ["a", "b", "c"], ["a", "b"]])
def test_clusters_must_allow_a_comparison(names: list[str]) -> None:
    with pytest.raises(ScoreError, match="at least two clusters"):
        clustering([1.0, 2.0, 3.0], names)
