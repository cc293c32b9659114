"""Settings of source attribution."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
from siren_ext.errors import ConfigError


def test_defaults_are_those_of_the_methods() -> None:
    config = SourceConfig()
    assert (config.keys, config.repeats, config.pictures) == (30, 4, 10)
    assert (config.steps, config.guidance) == (50, 7.5)
    assert config.strength == 0.75  # not the methods' 0.5, at which nothing was found
    assert (config.margin, config.alpha, config.least_confidence) == (0.03, 1e-3, 0.3)
    assert ShadowConfig().false_positives == 0.1
    assert config.embedding_folder is None
    assert SourceConfig(distance="dino", embedding="net").embedding_folder == Path("net")


def test_an_embedding_without_weights_and_bad_values_are_refused() -> None:
    with pytest.raises(ConfigError, match="embedding does not name a folder"):
        SourceConfig(distance="clip")
    with pytest.raises(ConfigError, match=r"SourceConfig\.strength is 0"):
        SourceConfig(strength=0.0)
    with pytest.raises(ConfigError, match="distance"):
        SourceConfig.from_dict({"distance": "ssim"})
