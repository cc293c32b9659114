"""The prediction test holds its level and follows from Student's t."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from siren_ext.errors import ScoreError
from siren_ext.stats.prediction import prediction_less


def test_the_figures_follow_from_the_formula() -> None:
    found = prediction_less(4.0, [5.0, 6.0, 7.0])
    assert (found.average, found.spread, found.others) == (6.0, 1.0, 3)
    assert found.statistic == pytest.approx(-2 / np.sqrt(4 / 3))
    assert found.p_value == pytest.approx(stats.t.cdf(found.statistic, 2))
    assert prediction_less(8.0, [5.0, 6.0, 7.0]).p_value == pytest.approx(1 - found.p_value)
    # this is the t of two samples of which one has a single value
    both = stats.ttest_ind_from_stats(4.0, 0.0, 1, 6.0, 1.0, 3, alternative="less")
    assert found.p_value == pytest.approx(both.pvalue)


@pytest.mark.parametrize("k", [3, 6])
def test_it_holds_its_level(k: int) -> None:
    rng = np.random.default_rng(k)
    models = rng.normal(5, 0.3, (4000, k + 1))
    p = np.array([prediction_less(row[0], row[1:]).p_value for row in models])
    for alpha in (0.05, 0.01):
        assert (p <= alpha).mean() == pytest.approx(alpha, abs=3 * np.sqrt(alpha / 4000))


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ScoreError, match="There are 2 reference models; expected 3 or more"):
        prediction_less(4, [5, 6])
    with pytest.raises(ScoreError, match="are equal; expected different models"):
        prediction_less(4, [5, 5, 5])
    with pytest.raises(ScoreError, match="not finite"):
        prediction_less(float("nan"), [5, 6, 7])
