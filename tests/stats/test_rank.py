"""The rank test: closed form, ties, calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.errors import ScoreError
from siren_ext.stats.rank import others_needed, rank_among


def test_counts_by_hand():
    result = rank_among(2.0, [1.0, 2.0, 3.0, 4.0])
    assert (result.at_least, result.others, result.ties) == (2, 4, 1)
    assert result.p_value == 3 / 5
    assert result.smallest_p == 1 / 5
    upper = rank_among(2.0, [1.0, 2.0, 3.0, 4.0], alternative="greater")
    assert upper.p_value == 4 / 5
    assert upper.to_dict()["alternative"] == "greater"


@given(
    values=st.lists(st.integers(0, 9), min_size=2, max_size=30),
    side=st.sampled_from(["less", "greater"]),
)
def test_valid_over_every_choice_of_the_suspect(values, side):
    """Each of the models may be the suspect with equal chance: P(p <= a) <= a, exactly."""
    p = [
        rank_among(values[i], values[:i] + values[i + 1 :], alternative=side).p_value
        for i in range(len(values))
    ]
    for alpha in p:
        assert np.mean(np.array(p) <= alpha) <= alpha + 1e-12


def test_uniform_under_the_null():
    rng = np.random.default_rng(1)
    p = np.array([rank_among(row[0], row[1:]).p_value for row in rng.normal(size=(4000, 40))])
    for alpha in (0.025, 0.1, 0.5):
        size = math.floor(40 * alpha) / 40
        assert abs((p <= alpha).mean() - size) < 4 * math.sqrt(size * (1 - size) / 4000) + 1e-9


@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.01, 1e-3, 1 / 7, 0.3])
def test_others_needed_is_the_least_number(alpha):
    count = others_needed(alpha)
    assert rank_among(0.0, np.arange(1.0, count + 1)).p_value <= alpha
    assert count == 1 or rank_among(0.0, np.arange(1.0, count)).p_value > alpha


def test_bad_input_is_named():
    with pytest.raises(ScoreError, match="values to compare with have shape"):
        rank_among(1.0, [])
    with pytest.raises(ScoreError, match="values of the suspect are not finite"):
        rank_among(float("nan"), [1.0])
    with pytest.raises(ScoreError, match="alternative is 'up'"):
        rank_among(1.0, [1.0], alternative="up")  # type: ignore[arg-type]
    with pytest.raises(ScoreError, match="alpha is 0"):
        others_needed(0)
