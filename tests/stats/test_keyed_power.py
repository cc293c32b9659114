"""Plans of keyed tests: the counted tail, and the power of fresh simulated tests."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.keyed_bounds import message_tail
from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed, saddlepoint_tail


def test_saddlepoint_is_close_to_the_counted_tail():
    rng = np.random.default_rng(9)
    for n in (3, 30, 300):
        noise = math.sqrt(n) * rng.normal(size=(40, 48))
        aligned = n * (0.2 + 0.2 * rng.normal(size=(40, 48))) + noise
        counted = np.array([message_tail(row, row.sum()) for row in aligned])
        ratio = saddlepoint_tail(aligned) / counted
        assert 0.9 < np.median(ratio) <= 1.01
        assert ratio.min() > 0.3
        assert ratio.max() < 3
    ends = np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    np.testing.assert_allclose(saddlepoint_tail(ends), [1 / 8, 1])


def test_keyed_plan_is_the_power_of_the_test():
    rng = np.random.default_rng(10)
    effect = KeyedEffect(mean=0.3, bits_spread=0.2, images_spread=0.9, bits=32)
    plan = plan_keyed(effect, alpha=1e-5, power=0.9, rng=rng)
    hits = 0
    for _ in range(300):
        own = 0.3 + 0.2 * rng.normal(size=32)
        aligned = (own + 0.9 * rng.normal(size=(plan.images, 32))).sum(axis=0)
        hits += message_tail(aligned, float(aligned.sum())) <= 1e-5
    assert abs(hits / 300 - plan.power) < 4 * math.sqrt(0.09 / 300)
    assert plan.references == 0


@pytest.mark.parametrize(("accuracy", "spread", "alpha"), [(0.9, 0.15, 1e-6), (0.75, 0.15, 1e-6)])
def test_a_plan_from_accuracy_is_what_the_test_does_within_two_points(accuracy, spread, alpha):
    """With few pictures F has few values: a plan without rounding claimed up to 21 points more."""
    rng = np.random.default_rng(13)
    effect = KeyedEffect.from_accuracy(accuracy, 48, spread=spread)
    plan = plan_keyed(effect, alpha=alpha, power=0.8, rng=rng)
    hits, runs = 0, 1000
    for _ in range(runs):
        message = rng.integers(0, 2, 48) * 2 - 1
        right = rng.random((plan.images, 48)) < rng.normal(accuracy, spread, 48)
        features = np.where(right, 100.0, -100.0) * message
        hits += keyed_test(features, message).p_value <= alpha
    error = math.sqrt(plan.power * (1 - plan.power) / runs)
    assert abs(hits / runs - plan.power) < 0.01 + 3 * error


def test_the_tail_of_sums_that_are_zero_is_counted_over_the_others():
    assert saddlepoint_tail(np.array([[0.0, 1.0, 1.0]])) == pytest.approx([1 / 4])


def test_keyed_effect_from_pilot():
    rng = np.random.default_rng(11)
    message = rng.integers(0, 2, 48) * 2 - 1
    aligned = 0.25 + 0.15 * rng.normal(size=48) + 0.3 * rng.normal(size=(400, 48))
    effect = KeyedEffect.from_pilot(aligned * message, message, scale=None)
    assert effect.bits == 48
    assert effect.mean == pytest.approx(0.25, abs=0.07)
    assert effect.bits_spread == pytest.approx(0.15, abs=0.05)
    assert effect.images_spread == pytest.approx(0.3, abs=0.01)


def test_keyed_effect_from_accuracy():
    effect = KeyedEffect.from_accuracy(0.75, 48, spread=0.1)
    assert (effect.mean, effect.bits_spread) == (0.5, 0.2)
    assert effect.images_spread == pytest.approx(math.sqrt(0.75))
    rng = np.random.default_rng(12)
    assert plan_keyed(effect, rng=rng).images < 15
    assert plan_keyed(KeyedEffect.from_accuracy(0.75, 16), alpha=1e-6, rng=rng).images is None, (
        "16 bits give 1.5e-5 at best"
    )
