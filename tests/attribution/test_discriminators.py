"""Discriminators."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.attribution.discriminators import FITS, fit_mlp
from siren_ext.attribution.source_config import ShadowConfig
from siren_ext.errors import ScoreError


def models(count: int, gap: float, seed: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(gap, 1, size=(count, 20, 4)))


@pytest.mark.parametrize("name", sorted(FITS))
def test_other_models_of_the_same_kinds_are_told_apart(name: str) -> None:
    given = [*models(6, 1, 0), *models(6, 0, 1)]
    config = ShadowConfig(epochs=15)
    score = FITS[name](given, [True] * 6 + [False] * 6, config)
    known = [score(one) for one in models(5, 1, 2)]
    innocent = [score(one) for one in models(5, 0, 3)]
    assert min(known) > max(innocent)
    again = FITS[name](given, [True] * 6 + [False] * 6, config)
    assert again(given[0]) == score(given[0])


def test_the_network_needs_a_model_of_each_kind_to_stop_on() -> None:
    given = models(2, 0, 0)
    with pytest.raises(ScoreError, match="two or more of each"):
        fit_mlp(given, [True, False], ShadowConfig())
