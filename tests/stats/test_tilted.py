import itertools

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.tilted import TILTS, tilted_test, tilted_tests


def _signs(rng, bits=48):
    return np.where(rng.random(bits) < 0.5, 1, -1)


def test_p_of_a_weighted_sum_is_that_of_counting():
    strengths = np.random.default_rng(2).integers(1, 11, 24)
    features = np.arctanh(strengths / 10.5)[None] * 4
    message = np.where(np.arange(24) % 8 == 0, -1, 1)
    counted = keyed_test(features, message).p_value
    weights = np.round(strengths / strengths.max() * 10)
    found = [
        tilted_test(lambda m: m @ weights, message, seed=seed, drawn=8000).p_value
        for seed in range(4)
    ]
    assert 1e-5 < counted < 1e-2
    assert np.mean(found) == pytest.approx(counted, rel=0.25)


def test_p_of_any_statistic_is_the_share_of_messages():
    rng = np.random.default_rng(3)
    pairs = rng.normal(size=(10, 10))
    line = 3 * rng.normal(size=10)

    def statistic(messages):
        return messages @ line + np.einsum("ni,ij,nj->n", messages, pairs, messages)

    every = np.array(list(itertools.product((-1.0, 1.0), repeat=10)))
    values = statistic(every)
    message = every[np.argsort(values)[-12]]
    found = [tilted_test(statistic, message, seed=s, drawn=20_000).p_value for s in range(3)]
    assert np.mean(found) == pytest.approx(12 / 1024, rel=0.12)


def test_size_for_a_statistic_of_pairs():
    rng = np.random.default_rng(4)
    pairs, line = rng.normal(size=(16, 16)), rng.normal(size=16)

    def statistic(messages):
        return messages @ line + np.einsum("ni,ij,nj->n", messages, pairs, messages)

    found = np.array(
        [
            tilted_test(statistic, _signs(rng, 16), seed=seed, drawn=64).p_value
            for seed in range(1500)
        ]
    )
    for alpha in (0.2, 0.05, 0.01):
        limit = alpha + 3 * np.sqrt(alpha * (1 - alpha) / len(found))
        assert (found <= alpha).mean() <= limit
    assert (found <= 0.2).mean() > 0.1


def test_far_tails_need_few_messages():
    weights = np.ones(48)
    result = tilted_test(lambda m: m @ weights, np.ones(48, dtype=int), seed=0)
    assert 2.0**-48 <= result.p_value < 1e-12
    assert result.drawn == 4000
    assert result.bits == 48
    assert result.deviations == pytest.approx(np.sqrt(48), rel=0.1)


def test_a_statistic_that_says_nothing_gives_one():
    result = tilted_test(lambda m: np.zeros(len(m)), _signs(np.random.default_rng(0)), seed=0)
    assert result.p_value == pytest.approx(1)
    assert result.deviations == 0


def test_the_true_message_counts_as_one_of_n():
    """Of one bit all figures follow by hand; equally many messages come from each of the places."""
    chances = 1 / (1 + np.exp(-2 * np.array(TILTS)))
    plus, minus = (0.5 / part.mean() for part in (chances, 1 - chances))
    best, worst = tilted_tests(lambda m: m[:, 0], np.array([[1], [-1]]), seed=0, drawn=8)
    assert best.smallest_p == pytest.approx(plus / 8)
    assert best.p_value == pytest.approx((1 + best.at_least) * plus / 8)
    assert worst.smallest_p == pytest.approx(minus / 8)
    assert worst.at_least == 8


def test_equal_seeds_give_equal_results():
    message = _signs(np.random.default_rng(5))
    weights = np.random.default_rng(6).normal(size=48)
    one, same = (tilted_test(lambda m: m @ weights, message, seed=9) for _ in range(2))
    assert one == same
    assert one.to_dict()["p_value"] == one.p_value


def test_several_messages_are_tested_as_each_alone():
    rng = np.random.default_rng(7)
    weights, messages = rng.normal(size=12), np.stack([_signs(rng, 12) for _ in range(5)])
    together = tilted_tests(lambda m: m @ weights, messages, seed=3, drawn=400)
    for one, message in zip(together, messages, strict=True):
        alone = tilted_test(lambda m: m @ weights, message, seed=3, drawn=400)
        assert one.p_value == pytest.approx(alone.p_value)
        assert (one.at_least, one.drawn) == (alone.at_least, 400)
    with pytest.raises(ScoreError, match="malformed"):
        tilted_tests(lambda m: m.sum(1), np.ones(4), seed=0)


@pytest.mark.parametrize("message", [np.zeros(4), np.ones((2, 4)), np.ones(0)])
def test_malformed_messages_are_refused(message):
    with pytest.raises(ScoreError, match="malformed"):
        tilted_test(lambda m: m.sum(1), message, seed=0)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ScoreError, match="not a finite number"):
        tilted_test(lambda m: np.full(len(m), np.nan), np.ones(4), seed=0)
