"""Settings of the service."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from siren_ext.errors import ConfigError
from siren_ext.service.config import ServeConfig


def test_the_settings_of_an_image() -> None:
    own = ServeConfig(strength=0.5, scores=False).coating()
    assert (own.strength, own.format, own.quality, own.scores) == (0.5, "keep", UNSET, False)
    chosen = ServeConfig(format="png", quality=80).coating("webp", "70")
    assert (chosen.format, chosen.quality) == ("webp", 70)


@pytest.mark.parametrize("choice", [("gif", None), (None, "0"), (None, "x"), (None, "1e3")])
def test_impossible_choices(choice: tuple[str | None, str | None]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        ServeConfig().coating(*choice)


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"queue": -1}, {"max_pixels": 10**9}, {"wait_seconds": 0}]
)
def test_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is"):
        ServeConfig(**wrong)  # type: ignore[arg-type]
