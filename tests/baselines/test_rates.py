from __future__ import annotations

import numpy as np
import pytest

from siren_ext.baselines.bits import balanced_string
from siren_ext.baselines.luo import Luo
from siren_ext.baselines.rates import rates
from siren_ext.errors import ScoreError


def test_rates_of_every_rule_and_level_from_evidence_alone() -> None:
    pool = np.tile(balanced_string(0), (40, 1)).astype(float)
    found = rates(lambda draw: Luo(seed=0), pool, (0.05, 0.01), draws=20)
    assert [(one.rule, one.alpha) for one in found] == [
        ("published", 0.05),
        ("published", 0.01),
        ("calibrated", 0.05),
        ("calibrated", 0.01),
    ]
    assert {one.rate for one in found} == {1.0}
    assert found[0].low == pytest.approx(0.025 ** (1 / 20))
    assert found[0].high == 1


def test_fair_bits_are_accused_at_the_level() -> None:
    pool = np.random.default_rng(0).integers(0, 2, (400, 32)).astype(float)
    published, _ = rates(lambda draw: Luo(seed=draw), pool, (0.1,), draws=300)
    assert published.low <= 0.1 <= published.high


def test_a_pool_smaller_than_a_sample_is_refused() -> None:
    with pytest.raises(ScoreError, match="at least as many"):
        rates(lambda draw: Luo(), np.zeros((20, 32)), (0.05,), draws=1)
