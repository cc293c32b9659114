"""Tests of coins: counted by hand, valid over all coins, and the share of copies that was used."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.coins import (
    LARGEST,
    SequentialCoins,
    coins_test,
    sequential_coins,
    strengths,
    used_copies,
)

ALL = [np.array(coins) for coins in itertools.product((0, 1), repeat=9)]


def some(seed: int, count: int = 9) -> np.ndarray:
    """Differences of an innocent model, some equal and one 0."""
    values = np.round(np.random.default_rng(seed).standard_t(2, size=count), 1)
    values[seed % count] = 0.0
    return values


def trained(seed: int, used: int, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Differences and coins of a model that knows ``used`` published copies."""
    rng = np.random.default_rng(seed)
    coins = rng.integers(0, 2, count)
    values = rng.normal(size=count)
    values[:used] += 2 * (1 - 2 * coins[:used])
    return values, coins


def test_figures_by_hand() -> None:
    found = coins_test([3.0, -2.0, 1.0, 0.0], [0, 1, 1, 0])
    assert strengths([3.0, -2.0, 1.0, 0.0]).tolist() == [20, 15, 10, 0]
    assert (found.statistic, found.span) == (20 + 15 - 10, 45)
    assert found.p_value == 2 / 8  # the sums of three signs from 25 on: 45 and 25
    assert (found.right, found.ties, found.images) == (2, 1, 4)
    assert found.spread == pytest.approx(math.sqrt(20**2 + 15**2 + 10**2))
    assert found.sign_p == pytest.approx(4 / 8)
    assert found.smallest_p == 1 / 8
    assert found.to_dict()["used"]["hit"] is None


def test_strengths_know_nothing_of_signs() -> None:
    values = some(3, 50)
    assert strengths(values).tolist() == strengths(-values).tolist()
    assert strengths(values).max() == LARGEST
    assert strengths([0.0, 0.0]).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(6))
def test_every_p_is_valid_over_all_coins(seed: int) -> None:
    """All coins are equally likely under the null, so this is the whole distribution of p."""
    values = some(seed)
    found = [coins_test(values, coins) for coins in ALL]
    for name in ("p_value", "sign_p", "sequential_p"):
        p = np.array([getattr(one, name) for one in found])
        for alpha in np.unique(p):
            assert np.mean(p <= alpha) <= alpha + 1e-12, name
    p = np.array([one.p_value for one in found])
    assert all(np.mean(p <= alpha) == pytest.approx(alpha) for alpha in np.unique(p))


@pytest.mark.parametrize("seed", range(4))
def test_the_gambler_wins_nothing_on_average(seed: int) -> None:
    values = some(seed)
    for t in range(len(values)):
        capital = [math.exp(sequential_coins(values, coins).path[t]) for coins in ALL]
        assert np.mean(capital) == pytest.approx(1.0)


@pytest.mark.parametrize("used", [0, 3, 6])
def test_the_lower_limit_holds_whatever_used_images_do(used: int) -> None:
    """The worst case: used images are always right and have the largest differences."""
    values = some(1)
    worst = np.argsort(-np.abs(values))[:used]
    over = 0
    for coins in ALL:
        seen = coins.copy()
        seen[worst] = (values[worst] < 0).astype(int)
        over += used_copies(values, seen, confidence=0.6).low > used / len(values)
    assert over / len(ALL) <= 0.2 + 1e-12


def test_a_trained_model_is_found_and_its_share_covered() -> None:
    inside = 0
    for seed in range(40):
        values, coins = trained(seed, 50)
        found = coins_test(values, coins, hit=0.977)
        assert found.p_value < 1e-3
        inside += found.used.low <= 0.5 <= found.used.high
        assert found.used.low <= found.used.share <= found.used.high
    assert inside >= 36
    everything = coins_test(*trained(0, 100))
    assert everything.p_value < 1e-12
    assert everything.sequential_p < 1e-9
    assert everything.used.low > 0.7
    assert everything.used.high == 1.0


def test_one_by_one_is_as_all_at_once() -> None:
    values, coins = trained(2, 100)
    test = SequentialCoins(alpha=1e-4)
    for value, coin in zip(values, coins, strict=True):
        last = test.update(float(value), int(coin))
    whole = sequential_coins(values, coins, alpha=1e-4)
    assert last == whole
    assert whole.rejected
    assert whole.stopped_at is not None
    assert whole.stopped_at < 60


def test_p_one_by_one_is_never_zero() -> None:
    values = np.random.default_rng(0).uniform(1, 2, 2600)
    found = sequential_coins(values, np.zeros(2600, dtype=int))
    assert found.path[-1] > 750  # exp(-750) is 0 as a float
    assert found.p_value == 1e-300


def test_what_is_refused() -> None:
    with pytest.raises(ScoreError, match="coin toss, 0 or 1"):
        coins_test([1.0, 2.0], [0])
    with pytest.raises(ScoreError, match="coin toss, 0 or 1"):
        coins_test([1.0], [2])
    with pytest.raises(ScoreError, match="not finite"):
        coins_test([np.nan], [0])
    with pytest.raises(ScoreError, match=r"more than 0\.5"):
        used_copies([1.0], [0], hit=0.5)
    with pytest.raises(ScoreError, match="confidence"):
        used_copies([1.0], [0], confidence=1.0)


def test_a_model_without_preferences_shows_nothing() -> None:
    found = coins_test([0.0, 0.0], [0, 1])
    assert (found.p_value, found.sign_p, found.smallest_p) == (1.0, 1.0, 1.0)
    assert found.sequential_p == 1.0
