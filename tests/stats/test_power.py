"""Plans are believed only if fresh simulated tests, by the tests themselves, have that power."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.keyed_power import KeyedEffect
from siren_ext.stats.ks import ks_less
from siren_ext.stats.low_end import LOW_END
from siren_ext.stats.power import pilot_effect, plan_from_pilot, plan_size
from siren_ext.verdict.config import VerifyConfig


@pytest.mark.parametrize("low_end", [LOW_END, 0.1, 1])
def test_planned_power_is_the_power_of_the_test(low_end):
    rng = np.random.default_rng(1)
    plan = plan_size(1.2, alpha=1e-3, power=0.9, references=80, share=low_end, rng=rng)
    tests = 400
    for n, wanted in ((plan.images, plan.power), (plan.images // 2, None)):
        p = [
            ks_less(rng.normal(-1.2, 1, n), rng.normal(size=80), share=low_end).p_value
            for _ in range(tests)
        ]
        share = np.mean(np.array(p) <= 1e-3)
        if wanted is None:
            assert share < 0.8, "half as many images are clearly not enough"
        else:
            assert abs(share - wanted) < 4 * math.sqrt(0.09 / tests)
    assert plan.power >= plan.target == 0.9
    assert 0 < plan.error < 0.01
    assert plan.curve == tuple(sorted(plan.curve))
    assert dict(plan.curve)[plan.images] == plan.power
    assert json.loads(json.dumps(plan.to_dict()))["references"] == 80


@pytest.mark.parametrize(
    ("effect", "m", "alpha", "power"),
    [(1.5, 100, 1e-3, 0.8), (1.0, 100, 1e-2, 0.95), (0.7, 200, 0.05, 0.8), (1.0, 300, 1e-3, 0.95)],
)
def test_claimed_power_is_delivered_within_two_points(effect, m, alpha, power):
    """By the verdict's test on fresh scores; the standard errors together are 0.7 points."""
    rng = np.random.default_rng(11)
    plan = plan_size(effect, alpha=alpha, power=power, references=m, rng=rng)
    p = [
        ks_less(
            rng.normal(-effect, 1, plan.images), rng.normal(size=m), share=VerifyConfig().low_end
        ).p_value
        for _ in range(6000)
    ]
    assert abs(np.mean(np.array(p) <= alpha) - plan.power) <= 0.02
    assert plan.power >= power


def test_power_guide_of_the_method():
    """Measured figures: 30 against 300 at one standard deviation has power .98 at 1e-2."""
    plan = plan_size(1.0, alpha=1e-2, power=0.98, share=1, rng=np.random.default_rng(2))
    assert 27 <= plan.images <= 33


def test_more_is_needed_for_less():
    rng = np.random.default_rng(3)

    def images(effect, alpha, power):
        return plan_size(effect, alpha=alpha, power=power, draws=600, rng=rng).images

    base = images(2, 1e-4, 0.8)
    assert images(1, 1e-4, 0.8) > base
    assert images(2, 1e-8, 0.8) > base
    assert images(2, 1e-4, 0.99) > base


def test_out_of_reach_is_said():
    """With five references no number of suspects meets 1e-6 at this effect."""
    plan = plan_size(
        1, alpha=1e-6, references=5, limit=200, draws=300, rng=np.random.default_rng(4)
    )
    assert plan.images is None
    assert plan.limit == plan.curve[-1][0] == 200
    assert plan.power < 0.5


def test_pilot_of_normal_scores_agrees_with_the_effect():
    rng = np.random.default_rng(5)
    suspect, reference = rng.normal(-1.5, 1, 4000), rng.normal(size=4000)
    effect = pilot_effect(suspect, reference)
    assert effect.value == pytest.approx(1.5, abs=0.1)
    assert effect.low == pytest.approx(effect.value, abs=0.06)
    settings = {"alpha": 1e-4, "references": 100, "draws": 1500, "rng": rng}
    assert plan_from_pilot(suspect, reference, **settings).images == pytest.approx(
        plan_size(1.5, **settings).images, abs=4
    )


def test_pilot_effect_limits_hold():
    rng = np.random.default_rng(6)
    low = [pilot_effect(rng.normal(-1, 1, 25), rng.normal(size=40)).low for _ in range(1500)]
    assert np.mean(np.array(low) <= 1) == pytest.approx(0.9, abs=0.03)


def test_pilot_with_ties_follows_the_test():
    """Scores of five values: the plan's rejections are those of ks_less on such scores."""
    rng = np.random.default_rng(7)
    suspect, reference = np.repeat([0.0, 1, 2], [6, 3, 1]), np.repeat([0.0, 1, 2, 3], [1, 3, 3, 3])
    plan = plan_from_pilot(suspect, reference, alpha=1e-3, power=0.8, references=40, rng=rng)
    assert plan.references == 40
    p = [
        ks_less(rng.choice(suspect, plan.images), rng.choice(reference, 40), share=LOW_END).p_value
        for _ in range(500)
    ]
    assert abs(np.mean(np.array(p) <= 1e-3) - plan.power) < 4 * math.sqrt(0.16 / 500)


def test_bad_settings_are_named():
    rng = np.random.default_rng(0)
    for call, words in (
        (lambda: plan_size(0, rng=rng), "effect is 0"),
        (lambda: plan_size(1, alpha=2, rng=rng), "alpha is 2"),
        (lambda: plan_size(1, power=1, rng=rng), "power is 1"),
        (lambda: plan_size(1, references=0, rng=rng), "references is 0"),
        (lambda: plan_size(1, limit=0, rng=rng), "limit 0"),
        (lambda: pilot_effect([1.0, 2.0], [1.0, 2.0, 3.0]), "2 suspect and 3 reference"),
        (lambda: pilot_effect([1.0] * 3, [1.0] * 3), "All pilot scores are equal"),
        (lambda: KeyedEffect.from_accuracy(0.5, 48), "bit accuracy is 0.5"),
        (lambda: KeyedEffect.from_accuracy(0.8, 0), "bits is 0"),
        (lambda: KeyedEffect.from_pilot([[1.0, 2.0]], [1, 1]), "1 images and 2 bits"),
    ):
        with pytest.raises(ScoreError, match=words):
            call()
