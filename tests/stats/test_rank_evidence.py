"""The evidence in the ranks against its definition, and the bets on it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.rank_evidence import (
    SHAPES,
    log_rank_evidence,
    references_above,
    shape_bets,
)

ONE = np.array([1.0])


def likelihood_ratio(suspect, reference, shape):
    """By the definition: draw the scores from the largest down, weight ``shape`` per suspect."""
    scores = [(-r, 1.0) for r in reference] + [(-s, shape) for s in suspect]
    weights = [w for _, w in sorted(scores)]
    ratio = 1.0
    for k in range(len(weights)):
        ratio *= weights[k] / (sum(weights[k:]) / (len(weights) - k))
    return ratio


@pytest.mark.parametrize("shape", SHAPES)
def test_evidence_is_the_likelihood_ratio_of_the_order(shape):
    rng = np.random.default_rng(1)
    suspect, reference = rng.normal(-1, 1, 7), rng.normal(size=5)
    above = references_above(suspect, np.sort(reference))[None]
    evidence = log_rank_evidence(above, 5, np.array([shape]), ONE)[0]
    assert math.exp(evidence) == pytest.approx(likelihood_ratio(suspect, reference, shape))


def test_planned_effect_is_a_bet_with_total_one():
    shapes, weights = shape_bets(1.0)
    assert weights.sum() == pytest.approx(1)
    assert ((shapes > 0) & (shapes < 1)).all()
    # the best Lehmann shape for one standard deviation, by a scan over simulated ranks
    from scipy.stats import norm

    ranks = norm.cdf(np.random.default_rng(8).normal(-1, 1, 200_000))
    grid = np.linspace(0.3, 0.6, 301)
    gains = [math.log(d) + (d - 1) * np.log(ranks).mean() for d in grid]
    assert shapes[-1] == pytest.approx(grid[int(np.argmax(gains))], abs=0.01)
    with pytest.raises(ScoreError, match="effect is 0"):
        shape_bets(0)
