"""Settings are checked when made and survive TOML and JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from siren_ext.config import Config, preset_values
from siren_ext.errors import ConfigError, SirenError


@dataclasses.dataclass(frozen=True)
class Example(Config):
    """Settings with a value of every kind."""

    steps: Annotated[int, Meta(ge=1, le=1000)] = 400
    rate: Annotated[float, Meta(ge=0, le=1)] = 1e-4
    layout: Literal["plain", "kohya"] = "plain"
    prompts: tuple[str, ...] = ()
    levels: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    prompt: str | None = None
    flip: bool = True
    free: float = 0.5


@dataclasses.dataclass(frozen=True)
class Needy(Config):
    """Settings without a default."""

    url: Annotated[str, Meta(min_length=1)]
    name: str = ""


WRONG = [
    ("steps", 0, "whole number from 1 to 1000"),
    ("steps", 1001, "whole number from 1 to 1000"),
    ("steps", "many", "whole number from 1 to 1000"),
    ("steps", "3", "whole number from 1 to 1000"),
    ("steps", None, "whole number from 1 to 1000"),
    ("steps", float("nan"), "whole number from 1 to 1000"),
    ("steps", 2.5, "whole number from 1 to 1000"),
    ("steps", 2.0, "whole number from 1 to 1000"),
    ("steps", True, "whole number from 1 to 1000"),
    ("steps", 10**40, "whole number from 1 to 1000"),
    ("steps", [[[]]], "whole number from 1 to 1000"),
    ("rate", float("nan"), "a number from 0 to 1"),
    ("rate", float("inf"), "a number from 0 to 1"),
    ("rate", "0.5", "a number from 0 to 1"),
    ("rate", False, "a number from 0 to 1"),
    ("rate", 2, "a number from 0 to 1"),
    ("free", float("inf"), "a number"),
    ("layout", "zip", "one of 'plain', 'kohya'"),
    ("layout", 3, "one of 'plain', 'kohya'"),
    ("prompts", "a cat", "a list of texts"),
    ("prompts", ("a", 3), "a list of texts"),
    ("prompts", {"a": "b"}, "a list of texts"),
    ("prompts", ("a\ud800",), "whole characters"),
    ("levels", (1, -1), "a list of whole numbers of at least 0"),
    ("levels", (1, True), "a list of whole numbers of at least 0"),
    ("prompt", 3, "text or nothing"),
    ("prompt", "\udfff", "whole characters"),
    ("flip", "no", "true or false"),
    ("flip", 1, "true or false"),
    ("flip", None, "true or false"),
]


def test_defaults_are_valid_and_frozen() -> None:
    config = Example()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_every_field_is_checked_and_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as made:
        Example(**{name: value})
    with pytest.raises(ConfigError) as read:
        Example.from_dict({name: value})
    with pytest.raises(ConfigError) as changed:
        dataclasses.replace(Example(), **{name: value})
    text = str(made.value)
    assert text.startswith(f"Example.{name} is ")
    assert expected in text.partition("; expected ")[2]
    assert len(text) < 200
    assert str(read.value) == str(changed.value) == text


def test_long_values_are_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        Example(layout="x" * 100_000)  # type: ignore[arg-type]
    assert "(100,000 characters)" in str(caught.value)
    assert len(str(caught.value)) < 160
    for name in ("steps", "free"):
        with pytest.raises(ConfigError, match=r"is a number of about 5,000 digits"):
            Example(**{name: 10**5000})


def test_whole_numbers_for_floats_stay_as_they_are() -> None:
    """Settings enter fingerprints as JSON, where 1 and 1.0 differ."""
    config = Example(rate=1, free=2**70)
    assert json.dumps(config.to_dict()["rate"]) == "1"
    assert config == Example(rate=1.0, free=2.0**70)


def test_lists_become_tuples() -> None:
    assert Example(prompts=["a"]).prompts == ("a",)  # type: ignore[arg-type]
    assert Example.from_dict({"levels": [1, 2]}).levels == (1, 2)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="no setting stepz; it has steps, rate"):
        Example.from_dict({"stepz": 3})
    with pytest.raises(ConfigError) as caught:
        Example.from_dict({"x" * 10_000 + str(i): 3 for i in range(100)})
    assert len(str(caught.value)) < 600


def test_missing_value_is_named() -> None:
    with pytest.raises(
        ConfigError, match="Needy has no url; expected text of 1 or more characters"
    ):
        Needy.from_dict({"name": "x"})


@pytest.mark.parametrize("values", [None, 3, "text", [("steps", 3)]])
def test_settings_come_by_name(values: Any) -> None:
    with pytest.raises(ConfigError, match="expected settings by name"):
        Example.from_dict(values)


def test_errors_are_siren_errors() -> None:
    assert issubclass(ConfigError, SirenError)


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="expected one of a, b"):
        preset_values({"a": {}, "b": {}}, "c")


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    steps=st.integers(1, 1000),
    rate=st.floats(0, 1) | st.integers(0, 1),
    layout=st.sampled_from(["plain", "kohya"]),
    prompts=st.lists(TEXT, max_size=3).map(tuple),
    levels=st.lists(st.integers(0, 2**63 - 1), max_size=3).map(tuple),
    prompt=st.none() | TEXT,
    flip=st.booleans(),
    free=st.floats(allow_nan=False, allow_infinity=False),
)
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    config = Example(**values)
    assert Example.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    path = tmp_path_factory.mktemp("config") / "a.toml"
    config.to_toml(path)
    assert Example.from_toml(path) == config


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([field.name for field in dataclasses.fields(Example)]), PLAIN)
def test_any_value_fits_or_is_refused(name: str, value: Any) -> None:
    try:
        config = Example.from_dict({name: value})
    except ConfigError:
        return
    json.dumps(config.to_dict(), allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize("text", ["steps = ", "steps == 3", "\xff"])
def test_malformed_toml_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        Example.from_toml(path)


def test_missing_toml_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Example.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("steps", "400", 400),
        ("steps", "2.5", 2.5),
        ("steps", "1\nrate = 2", "1\nrate = 2"),
        ("rate", "1e-3", 1e-3),
        ("rate", "1", 1),
        ("rate", "nan", "nan"),
        ("layout", "kohya", "kohya"),
        ("layout", '"kohya"', "kohya"),
        ("prompt", "400", "400"),
        ("prompt", "no", "no"),
        ("prompt", "a = b", "a = b"),
        ("prompt", "'400'", "400"),
        ("prompt", '"open', '"open'),
        ("prompts", '["a", "b"]', ["a", "b"]),
        ("prompts", "a cat", "a cat"),
        ("flip", "no", False),
        ("flip", "Off", False),
        ("flip", "false", False),
        ("flip", "yes", True),
        ("flip", "on", True),
        ("flip", "TRUE", True),
        ("flip", "maybe", "maybe"),
        ("flip", "1", "1"),
        ("nobody", "3", "3"),
    ],
)
def test_typed_text_is_read_by_the_type_of_the_setting(name: str, text: str, value: Any) -> None:
    read = Example.value_from_text(name, text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 10_000, ".".join("a" * 40_000)])
def test_extreme_text_is_left_for_the_check_to_refuse(text: str) -> None:
    assert Example.value_from_text("steps", text) == text
    with pytest.raises(ConfigError, match=r"characters\); expected a whole number"):
        Example.from_dict({"steps": text})


@given(st.sampled_from(["steps", "rate", "prompts", "flip", "prompt"]), st.text())
def test_any_typed_text_gives_a_value(name: str, text: str) -> None:
    Example.value_from_text(name, text)
