"""conf(M), the binomial tail, the rate of innocent models, and the threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siren_ext.attribution.confidence import (
    binomial_tail,
    choose_delta,
    confidence,
    count_hits,
    innocent_rate,
)
from siren_ext.errors import ScoreError

NAN = float("nan")


def test_confidence_is_the_share_and_rises_with_the_threshold() -> None:
    distances = np.array([0.05, 0.15, 0.2, NAN])
    assert count_hits(distances, 0.15) == (2, 3)
    assert confidence(distances, 0.15) == 2 / 3
    values = [confidence(distances, delta) for delta in np.linspace(0, 1, 50)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == 1
    assert confidence(np.array([NAN]), 0.15) == 0


def test_the_tail_is_the_exact_sum() -> None:
    assert binomial_tail(7, 30, 0.05) == pytest.approx(5.7349e-4, rel=1e-4)
    by_hand = sum(math.comb(30, k) * 0.05**k * 0.95 ** (30 - k) for k in range(7, 31))
    assert binomial_tail(7, 30, 0.05) == pytest.approx(by_hand, rel=1e-12)
    assert binomial_tail(0, 30, 0.05) == 1
    assert 0 < binomial_tail(30, 30, 0.05) < 1e-38
    with pytest.raises(ScoreError, match="Found 31 of 30 key samples"):
        binomial_tail(31, 30, 0.05)


def test_the_rate_is_measured_on_three_models_or_assumed() -> None:
    models = [np.array([0.1, 0.3, 0.3, 0.3]), np.full(4, 0.3), np.array([0.1, 0.1, 0.3, NAN])]
    rate = innocent_rate(models, 0.15)
    assert (rate.hits, rate.total, rate.models, rate.best, rate.measured) == (3, 11, 3, 2, True)
    assert rate.rate == 3 / 11
    # the upper end of Clopper and Pearson's interval: P(Bin(11, upper) <= 3) = 2.5 %
    assert 1 - binomial_tail(4, 11, rate.upper) == pytest.approx(0.025)
    few = innocent_rate(models[:2], 0.15)
    assert (few.measured, few.rate) == (False, 1 / 8)
    assert few.upper > 0.125
    silent = innocent_rate([*models[:2], np.full(4, NAN)], 0.15)
    assert silent == few
    none = innocent_rate([], 0.15)
    assert (none.measured, none.rate, none.upper, none.models) == (False, 0.05, 0.05, 0)


def test_no_hit_of_innocent_models_is_no_certainty() -> None:
    rate = innocent_rate([np.full(30, 0.3)] * 3, 0.15)
    assert rate.rate == 0
    assert binomial_tail(1, 30, rate.upper) > 0.5


def test_the_threshold_is_the_band_edge_that_tells_models_apart() -> None:
    choice = choose_delta([np.array([0.04, 0.12, 0.13])], [np.array([0.17, 0.22, 0.3])], 0.05)
    assert (choice.delta, choice.known, choice.innocent, choice.youden) == (0.15, 1, 0, 1)
    overlapping = choose_delta([np.array([0.1, 0.3])], [np.array([0.1, 0.3])], 0.05)
    assert overlapping.youden == 0
    assert overlapping.delta == 0.05  # of equal ones the smallest
    with pytest.raises(ScoreError, match="no distances of innocent models"):
        choose_delta([np.array([0.1])], [np.array([NAN])], 0.05)
