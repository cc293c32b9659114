"""Settings of attacks: strengths between neutral and default, and unknown names."""

from __future__ import annotations

import pytest

from siren_ext.attacks.attack import Attack, Parameter
from siren_ext.attacks.registry import ATTACKS
from siren_ext.errors import ConfigError


def test_strength_moves_parameters_between_neutral_and_default() -> None:
    noise, bright, jpeg = (ATTACKS[name] for name in ("noise", "brightness", "jpeg"))
    assert noise.settings({"strength": 0.5}) == {"sigma": 0.025}
    assert bright.settings({"strength": 0.5})["factor"] == pytest.approx(2**0.5)  # type: ignore[index]
    assert jpeg.settings({"strength": 0.5}) == {"quality": 75, "chroma": "4:2:0"}
    assert jpeg.settings({"strength": 4})["quality"] == 1  # type: ignore[index]
    assert noise.settings({"strength": 0}) is None
    assert noise.settings({"strength": 0.5, "sigma": 0.2}) == {"sigma": 0.2}
    assert Parameter(3).at(0.5) == 3


def test_words_and_ranges() -> None:
    assert Parameter(7, 1, 63).words() == "7 (1 to 63)"
    assert Parameter("pocket").words() == '"pocket"'
    plain = Attack(len, "edit", "nobody", {"a": Parameter(1)})
    assert (plain.scalable, plain.names) == (False, ("a",))
    graded = Attack(len, "edit", "nobody", {"a": Parameter(1, 0, 2, neutral=0)})
    assert (graded.scalable, graded.names) == (True, ("a", "strength"))


def test_unknown_settings() -> None:
    with pytest.raises(
        ConfigError, match="no setting 'sigma' here; expected one of strength, turn"
    ):
        ATTACKS["hue"].settings({"sigma": 1})
    with pytest.raises(ConfigError, match="no setting 'strength' here; expected one of colours"):
        ATTACKS["palette"].settings({"strength": 1})
    with pytest.raises(ConfigError, match="dither is 'maybe'; expected true or false"):
        ATTACKS["palette"].settings({"dither": "maybe"})
    with pytest.raises(ConfigError, match="strength is 5; expected a number from 0 to 4"):
        ATTACKS["noise"].settings({"strength": 5})
