"""Statistics of studies on known cases."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siren_ext.experiments.measures import LEVELS, across_seeds, area, null_spread, rejections
from siren_ext.experiments.study import (
    DetectionConfig,
)

POOLS = DetectionConfig(seeds=3, mimicries=60, reference=120, size=10, against=40, repeats=2000)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
    st.lists(st.integers(0, 6), min_size=1, max_size=12),
)
@settings(max_examples=60)
def test_area_is_the_chance_of_a_lower_score(low: list[int], high: list[int]) -> None:
    pairs = [1.0 if a < b else 0.5 if a == b else 0.0 for a in low for b in high]
    assert area(low, high).value == pytest.approx(np.mean(pairs))
    assert area(high, low).value == pytest.approx(1 - np.mean(pairs))


def test_area_error_is_its_spread_over_new_images() -> None:
    source = rng(1)
    found = [area(source.normal(-1, 1, 40), source.normal(0, 1, 60)) for _ in range(300)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.15)
    assert area([1.0], [2.0]).error == 0


def test_separated_pools_are_always_told_apart() -> None:
    found = rejections(rng().random(60) - 2, rng(1).random(120), POOLS, rng())
    assert found.shares == (1.0,) * len(LEVELS)
    assert found.pool_errors == (0.0,) * len(LEVELS)
    assert list(np.diff(found.curve) <= 0) == [True] * (len(found.curve) - 1)
    turned = rejections(rng().random(60) + 2, rng(1).random(120), POOLS, rng())
    assert turned.shares == (0.0,) * len(LEVELS), "higher scores are no evidence"


def test_pool_error_is_the_spread_over_new_pools() -> None:
    source = rng(2)
    few = dataclasses.replace(POOLS, repeats=300)
    found = [
        rejections(source.normal(-0.8, 1, 60), source.normal(0, 1, 120), few, source)
        for _ in range(40)
    ]
    shares = np.array([one.shares[0] for one in found])
    wide = np.array([one.pool_errors[0] if one.pool_errors else np.nan for one in found])
    assert np.sqrt(np.mean(wide**2)) == pytest.approx(shares.std(ddof=1), rel=0.5)
    assert np.mean([one.draw_errors[0] for one in found]) < 0.5 * shares.std()


def test_without_images_to_spare_there_is_no_pool_error() -> None:
    all_used = dataclasses.replace(POOLS, against=120)
    found = rejections(rng().random(60), rng(1).random(120), all_used, rng())
    assert found.pool_errors is None
    assert found.to_rows()[0]["se_pools"] is None


def test_innocent_studies_stay_near_the_stated_risk() -> None:
    null = null_spread(POOLS, rng(3), studies=120)
    for level, share, error in zip(
        LEVELS[:2], null.shares.mean(axis=0), null.errors(), strict=False
    ):
        assert share <= level + 3 * error / np.sqrt(len(null.shares))
        alone = np.sqrt(level * (1 - level) / (POOLS.seeds * POOLS.repeats))
        assert error > 3 * alone, "draws from one pool are not independent"
    assert np.all(null.chance(np.zeros(len(LEVELS))) == 1)
    assert np.all(null.chance(np.ones(len(LEVELS))) < 0.01)


def test_mean_over_seeds() -> None:
    row = across_seeds([[0.2] * 5, [0.4] * 5])[0]
    assert row["mean"] == pytest.approx(0.3)
    assert row["se_seeds"] == pytest.approx(0.1)
    assert (row["lowest"], row["highest"], row["alpha"]) == (0.2, 0.4, LEVELS[0])
    assert across_seeds([[0.2] * 5])[0]["se_seeds"] is None
