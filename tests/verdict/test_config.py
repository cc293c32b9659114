"""Settings of a verdict are checked."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.verdict.config import VerifyConfig


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="alpha"):
        VerifyConfig(alpha=0)
    with pytest.raises(ConfigError, match="method"):
        VerifyConfig(method="quick")  # type: ignore[arg-type]
