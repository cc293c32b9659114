"""Settings are validated when made and survive TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.config import Config
from siren_ext.errors import ConfigError, SirenError


@dataclasses.dataclass(frozen=True)
class Example(Config):
    """Settings with a value of every kind."""

    steps: int = 400
    rate: float = 1e-4
    layout: str = "plain"
    prompts: tuple[str, ...] = ()
    prompt: str | None = None
    flip: bool = True

    bounds: ClassVar[dict[str, tuple[float, float]]] = {"steps": (1, 1000), "rate": (0, 1)}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {"layout": ("plain", "kohya")}


def test_defaults_are_valid_and_frozen() -> None:
    config = Example()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize("steps", [0, 1001, "many", None, float("nan")])
def test_out_of_bounds_names_field_value_and_range(steps: Any) -> None:
    with pytest.raises(ConfigError, match=r"Example\.steps is .*from 1 to 1000"):
        Example(steps=steps)


def test_unknown_choice_lists_the_allowed() -> None:
    with pytest.raises(ConfigError, match="'plain', 'kohya'"):
        Example(layout="zip")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="no setting stepz; it has steps, rate"):
        Example.from_dict({"stepz": 3})


def test_errors_are_siren_errors() -> None:
    assert issubclass(ConfigError, SirenError)


@given(
    steps=st.integers(1, 1000),
    rate=st.floats(0, 1),
    layout=st.sampled_from(["plain", "kohya"]),
    prompts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3).map(tuple),
    prompt=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    flip=st.booleans(),
)
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    config = Example(**values)
    assert Example.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path_factory.mktemp("config") / "a.toml"
    config.to_toml(path)
    assert Example.from_toml(path) == config


@pytest.mark.parametrize("text", ["steps = ", "steps == 3", "\xff"])
def test_malformed_toml_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        Example.from_toml(path)


def test_missing_toml_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Example.from_toml(tmp_path / "none.toml")
