"""Settings of preference evidence."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.preference.config import PreferenceConfig


@pytest.mark.parametrize("values", [{"draws": 0}, {"low": 0.5, "high": 0.5}, {"high": 1.1}])
def test_bad_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        PreferenceConfig.from_dict(values)
