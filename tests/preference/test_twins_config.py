"""Settings of twins."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.preference.twins_config import TwinsConfig


def test_ranges() -> None:
    assert TwinsConfig().images == 0
    with pytest.raises(ConfigError, match="low below high"):
        TwinsConfig(low=0.5, high=0.5)
    with pytest.raises(ConfigError, match="draws"):
        TwinsConfig(draws=0)
