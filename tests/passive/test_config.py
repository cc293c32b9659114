"""Columns of the feature sets, and settings that do not fit."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.passive.config import FAMILIES, FEATURE_SETS, PassiveConfig, columns_of


def test_the_vector_of_cdi_has_its_order() -> None:
    grey, white = PassiveConfig().columns, PassiveConfig(features="white").columns
    assert (len(grey), len(white)) == (14, 26)
    assert white[:4] == ("denoising_loss", "secmi", "pia", "pian")
    assert white[4:14] == tuple(f"masked_{time}" for time in range(0, 1000, 100))
    assert white[14:24] == tuple(f"loss_{time}" for time in range(0, 1000, 100))
    assert white[24:] == ("optimised_loss", "optimised_norm")
    assert grey == white[:4] + white[14:24]


def test_names_of_columns_are_unique_and_sets_name_families() -> None:
    names = columns_of(tuple(FAMILIES))
    assert len(set(names)) == len(names)
    assert all(set(families) <= set(FAMILIES) for families in FEATURE_SETS.values())
    assert columns_of(["pia"], difference=True) == ("diff:pia",)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="no family of features 'shape'; expected some of"):
        columns_of(["shape"])
    with pytest.raises(ConfigError, match=r"PassiveConfig\.features"):
        PassiveConfig(features="everything")  # type: ignore[arg-type]
