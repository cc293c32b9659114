"""A sequential plan is believed only if the test itself stops as planned."""

from __future__ import annotations

import json

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.power import plan_size
from siren_ext.stats.sequential import sequential_ks
from siren_ext.stats.sequential_power import plan_sequential


def test_sequential_plan_is_what_the_test_does():
    rng = np.random.default_rng(8)
    plan = plan_sequential(1.5, alpha=1e-3, references=60, limit=60, rng=rng)
    stops = [
        sequential_ks(rng.normal(-1.5, 1, 60), rng.normal(size=60), alpha=1e-3, effect=1.5)
        for _ in range(80)
    ]
    found = [stop.stopped_at or 61 for stop in stops]
    assert np.quantile(found, 0.3) <= plan.median <= np.quantile(found, 0.7)
    assert plan.median < plan.most
    assert plan.power > 0.9
    never = plan_sequential(0.1, alpha=1e-6, references=20, limit=20, draws=50, rng=rng)
    assert (never.median, never.most, never.power) == (None, None, 0.0)
    assert json.loads(json.dumps(never.to_dict()))["limit"] == 20


def test_median_images_against_the_fixed_plan():
    """The promise of the sequential test: at equal alpha at most 60 % of the images."""
    rng = np.random.default_rng(9)
    for effect, alpha, m in ((1.5, 1e-3, 100), (2.0, 1e-6, 100)):
        fixed = plan_size(effect, alpha=alpha, references=m, power=0.95, draws=1000, rng=rng)
        typical = plan_sequential(
            effect, alpha=alpha, references=m, limit=2 * fixed.images, draws=300, rng=rng
        )
        assert typical.median <= 0.6 * fixed.images
        assert typical.power >= 0.95


def test_bad_settings_are_named():
    with pytest.raises(ScoreError, match="effect is -1"):
        plan_sequential(-1, limit=5, rng=np.random.default_rng(0))
