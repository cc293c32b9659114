from __future__ import annotations

import numpy as np
import pytest

from siren_ext.baselines.memorisation import exact_p_value, t_p_value, welch_p_value
from siren_ext.errors import ScoreError


@pytest.mark.parametrize(("count", "limit"), [(30, 0.6504), (50, 0.6165)])
def test_smallest_share_that_is_significant(count: int, limit: float) -> None:
    assert t_p_value(limit, count) == pytest.approx(0.05, abs=3e-4)
    assert t_p_value(limit + 0.002, count) < 0.05 < t_p_value(limit - 0.002, count)


def test_p_falls_with_the_share_and_the_number() -> None:
    shares = np.linspace(0, 1, 31)
    for test in (t_p_value, exact_p_value):
        values = [test(share, 30) for share in shares]
        assert all(np.diff(values) <= 0)
        assert test(0.7, 60) < test(0.7, 30)


def test_shares_of_0_and_1_are_finite() -> None:
    assert t_p_value(0, 30) == 1
    assert 0 < t_p_value(1, 30) <= t_p_value(29 / 30, 30)
    assert t_p_value(1, 5) == 2.0**-5
    assert exact_p_value(0, 30) == 1
    assert exact_p_value(1, 30) == pytest.approx(2.0**-30)
    assert welch_p_value(1, 30, 0, 30) == 2.0**-30
    assert welch_p_value(0, 30, 0, 30) == 1


def test_the_clean_share_of_the_exact_test_counts() -> None:
    assert exact_p_value(0.8, 30) < 0.01 < 0.5 < exact_p_value(0.8, 30, 0.8)


def test_welch_compares_with_the_clean_model() -> None:
    assert welch_p_value(0.9, 30, 0.9, 30) == pytest.approx(0.5)
    assert welch_p_value(0.9, 30, 0.3, 30) < 1e-6


def test_the_exact_test_keeps_its_level() -> None:
    counts = np.random.default_rng(0).binomial(30, 0.5, 2000)
    shares = np.array([exact_p_value(count / 30, 30) <= 0.05 for count in counts])
    assert shares.mean() <= 0.065


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ScoreError, match="from 0 to 1"):
        t_p_value(1.1, 30)
    with pytest.raises(ScoreError, match="at least 2"):
        exact_p_value(0.5, 1)
