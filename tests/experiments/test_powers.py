"""Checks of plans: a plan that holds is near, and one that does not is seen."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.experiments import powers
from siren_ext.experiments.powers import PLANS, Claim
from siren_ext.stats.ks import ks_less


def test_every_kind_of_plan_is_checked():
    assert {one.name for one in PLANS} == {
        "--effect",
        "--effect --low-end 1",
        "--suspect --reference",
        "--accuracy",
        "half stop by",
        "nine of ten by",
    }
    settings = [(one.name, one.setting) for one in PLANS]
    assert len(set(settings)) == len(settings), "rows are kept by these"


@pytest.mark.parametrize(
    "one",
    [
        powers.by_effect(2.0, 60, 1e-3, 0.8),
        powers.by_effect(2.0, 60, 1e-3, 0.8, share=1.0),
        powers.by_pilot(0.05, 0.8),
        powers.by_accuracy(0.9, 0.1, 24, 1e-3, 0.8),
        powers.one_at_a_time(2.0, 60, 1e-3, 0.5),
    ],
    ids=lambda one: one.name,
)
def test_a_plan_holds(one):
    claim = one.check(400, np.random.default_rng(1))
    assert claim.images > 0
    assert claim.simulated == pytest.approx(claim.stated, abs=0.08), "4 standard errors"


def test_a_plan_that_does_not_hold_is_seen(monkeypatch):
    monkeypatch.setattr(powers, "plan_keyed", lambda *args, **more: Wrong())
    claim = powers.by_accuracy(0.6, 0.1, 24, 1e-3, 0.8).check(100, np.random.default_rng(1))
    assert claim == Claim(2, 0.99, claim.simulated)
    assert claim.simulated < 0.3


class Wrong:
    """A plan of too few images."""

    images, power, limit = 2, 0.99, 10


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_what_rejects_is_what_has_a_small_p(share):
    rng = np.random.default_rng(2)
    for _ in range(5):
        suspect, reference = rng.normal(-0.8, 1, 20), rng.normal(size=30)
        p = ks_less(suspect, reference, share=share).p_value
        for alpha in (p * 0.999, p * 1.001):
            rejects = powers._comparison(20, 30, share, alpha)
            assert rejects(suspect, reference) == (p <= alpha)
