"""Settings of all methods in one model."""

from __future__ import annotations

import pytest

from siren_ext.errors import ConfigError
from siren_ext.personalize.config import RATES, PersonalizeConfig


@pytest.mark.parametrize("method", sorted(RATES))
def test_each_method_has_its_rate(method: str) -> None:
    config = PersonalizeConfig.from_dict({"method": method})
    assert config.learning_rate == RATES[method]
    assert PersonalizeConfig.from_dict(config.to_dict()) == config
    own = PersonalizeConfig.from_dict({"method": method, "learning_rate": 0.25})
    assert own.learning_rate == 0.25


def test_records_of_lora_runs_are_as_before() -> None:
    assert list(PersonalizeConfig().to_dict())[-1] == "seed"
    assert PersonalizeConfig().to_dict()["learning_rate"] == 5e-4
    assert PersonalizeConfig.from_dict({"method": "svdiff"}).to_dict()["method"] == "svdiff"


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ConfigError, match=r"hypernetwork.*svdiff"):
        PersonalizeConfig.from_dict({"method": "hypernetwork"})
    with pytest.raises(ConfigError, match="does not train the text encoder"):
        PersonalizeConfig.from_dict({"method": "svdiff", "train_text_encoder": True})
