from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from siren_ext.errors import ScoreError
from siren_ext.stats.ks import ks_less
from siren_ext.stats.low_end import LOW_END, low_end

SCORES = arrays(np.float64, st.integers(1, 30), elements=st.integers(-9, 9).map(float))


@given(SCORES, SCORES, st.floats(0.01, 1))
def test_the_gap_is_the_largest_below_the_ceiling(suspect, reference, share) -> None:
    first, second = low_end(suspect, reference, share)
    found = ks_less(first, second)
    ceiling = np.sort(reference)[max(1, int(np.ceil(share * len(reference)))) - 1]
    below = [
        np.mean(suspect <= score) - np.mean(reference <= score)
        for score in np.concatenate([suspect, reference])
        if score < ceiling
    ]
    assert found.statistic == pytest.approx(max([0.0, *below]))
    assert found.statistic <= ks_less(suspect, reference).statistic


def test_everything_is_the_usual_test() -> None:
    rng = np.random.default_rng(0)
    suspect, reference = rng.normal(-0.5, 1, 40), rng.normal(size=90)
    whole = ks_less(*low_end(suspect, reference, 1.0))
    assert whole.p_value == ks_less(suspect, reference).p_value


def test_complete_separation_stays_complete() -> None:
    found = ks_less(*low_end(np.arange(30), np.arange(100, 200)))
    assert found.statistic == 1
    assert found.p_value == found.smallest_p


def test_habits_of_the_upper_part_are_no_evidence() -> None:
    """Equal low quarters, and an upper part that is lower by far: what innocents differ in."""
    rng = np.random.default_rng(1)
    reference = rng.random(400)
    suspect = rng.random(400)
    suspect[suspect > 0.3] = 0.3 + (suspect[suspect > 0.3] - 0.3) / 3
    assert ks_less(suspect, reference).p_value < 1e-9
    assert ks_less(*low_end(suspect, reference)).p_value > 0.05


@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_innocents_are_not_accused_too_often(alpha: float) -> None:
    rng = np.random.default_rng(2)
    pairs = ((rng.normal(size=30), rng.normal(size=100)) for _ in range(3000))
    share = np.mean([ks_less(*low_end(*pair)).p_value <= alpha for pair in pairs])
    assert share <= alpha


def test_a_shift_of_all_scores_is_found_nearly_as_well() -> None:
    rng = np.random.default_rng(3)
    pairs = [(rng.normal(-1.5, 1, 30), rng.normal(size=100)) for _ in range(500)]
    power = [
        np.mean([ks_less(*low_end(*pair, share)).p_value <= 1e-4 for pair in pairs])
        for share in (LOW_END, 1.0)
    ]
    assert power[0] > 0.9
    assert power[1] - power[0] < 0.05


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ScoreError, match="share"):
        low_end([1.0], [2.0], share)
