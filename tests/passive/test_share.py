"""The share of published images that was used, on mixtures whose share is known."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.passive.share import used_share


def mixture(share: float, gap: float, n: int = 100, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    published, unpublished = rng.standard_normal((2, n))
    published[: round(share * n)] += gap
    return published, unpublished


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_shares_of_distinct_mixtures_are_estimated(share: float) -> None:
    found = [used_share(*mixture(share, 4.0, seed=seed)).share for seed in range(30)]
    assert np.mean(found) == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("gap", [0.5, 1.0, 3.0])
def test_the_lower_limit_holds_whatever_used_images_score(share: float, gap: float) -> None:
    limits = [used_share(*mixture(share, gap, 60, seed)).low for seed in range(40)]
    assert sum(low > share for low in limits) <= 2


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_the_interval_holds_for_images_that_stand_out(share: float) -> None:
    found = [used_share(*mixture(share, 3.0, 60, seed)) for seed in range(40)]
    assert sum(one.low <= share <= one.high for one in found) >= 37


def test_more_images_give_a_higher_lower_limit() -> None:
    few, many = (used_share(*mixture(1.0, 5.0, n)).low for n in (30, 300))
    assert 0.2 < few < many
    assert many > 0.8


def test_the_parts_are_in_order_and_repeatable() -> None:
    published, unpublished = mixture(0.4, 2.0)
    found = used_share(published, unpublished, seed=3)
    assert 0 <= found.low <= found.share <= found.high <= 1
    assert found == used_share(published, unpublished, seed=3)
    assert found.share == used_share(published[::-1], unpublished, seed=4).share
    assert found.to_dict()["level"] == 0.95


def test_equal_scores_and_reversed_sets_give_zero() -> None:
    assert used_share(np.ones(20), np.ones(20)).share == 0
    assert used_share(*mixture(0.9, -3.0)).share == pytest.approx(0, abs=0.05)


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(ScoreError, match="9 published and 20 unpublished images; expected 10"):
        used_share(np.ones(9), np.ones(20))
    with pytest.raises(ScoreError, match="confidence"):
        used_share(np.ones(20), np.ones(20), confidence=1.0)
