"""Frozen settings: checked when made, written to TOML or JSON, stored in every artefact."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from msgspec import UNSET, UnsetType

from siren_ext.documents import parse_toml, read_toml
from siren_ext.errors import ConfigError
from siren_ext.schema import expected, fits, shown, takes

T = TypeVar("T", bound="Config")

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_KINDS: dict[type[Config], dict[str, Any]] = {}


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings; subclasses are frozen dataclasses with plain values.

    Annotations say what fits: ``Annotated[int, Meta(ge=1, le=1000)]`` with msgspec's ``Meta``,
    ``Literal["plain", "kohya"]``, ``tuple[str, ...]``.

    Raises
    ------
    ConfigError
        a value of a wrong type or out of bounds.

    Notes
    -----
    A whole number given for a float is kept as it is: settings enter hashes as JSON, where 1 and
    1.0 differ, and existing coaters must keep their fingerprints. For the same reason a setting
    that came later can be left out: its type is ``... | UnsetType`` and its default ``UNSET``.
    """

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        for name, kind in _kinds(type(self)).items():
            value = getattr(self, name)
            if value is UNSET and takes(UnsetType, kind):
                continue
            if isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, name, value)
            place = f"{type(self).__name__}.{name} is {shown(value)}"
            if not (_is_finite(value) and fits(value, kind)):
                raise ConfigError(f"{place}; expected {expected(kind)}.")
            if not _is_writable(value):
                raise ConfigError(
                    f"{place}, which contains half of a character (a lone surrogate); expected "
                    "whole characters."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, in the order of the fields; without those that are not set."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not UNSET}

    @classmethod
    def from_dict(cls: type[T], values: Mapping[str, Any]) -> T:
        """Settings from plain values.

        Parameters
        ----------
        values : Mapping[str, Any]
            values by name; lists are taken for tuples.

        Returns
        -------
        T
            settings, the default where there is no value.

        Raises
        ------
        ConfigError
            a value that does not fit, an unknown name, or no value for one without a default.
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"{cls.__name__} is {shown(values)}; expected settings by name.")
        known = _kinds(cls)
        unknown = sorted(str(name)[:80] for name in values if name not in known)
        if unknown:
            raise ConfigError(
                f"{cls.__name__} has no setting {', '.join(unknown[:5])}; it has "
                f"{', '.join(known)}."
            )
        for field in dataclasses.fields(cls):
            default = (field.default, field.default_factory)
            if field.name not in values and default == (dataclasses.MISSING,) * 2:
                raise ConfigError(
                    f"{cls.__name__} has no {field.name}; expected {expected(known[field.name])}."
                )
        return cls(**values)

    @classmethod
    def from_toml(cls: type[T], path: Path) -> T:
        """Settings of a TOML file; raises :class:`ConfigError`."""
        return cls.from_dict(read_toml(path, error=ConfigError))

    def to_toml(self, path: Path) -> None:
        """Write the settings to a TOML file (None values are left out)."""
        import tomli_w

        plain = {name: value for name, value in self.to_dict().items() if value is not None}
        Path(path).write_text(tomli_w.dumps(plain), encoding="utf-8")

    @classmethod
    def value_from_text(cls, name: str, text: str) -> Any:
        """The value of the setting ``name`` that is meant by the text ``text``.

        Parameters
        ----------
        name : str
            of the setting; an unknown one is left for :meth:`from_dict` to refuse.
        text : str
            text as it is where the setting is a text; true, yes, on, false, no or off where it is
            a truth value; else TOML, such as ``0.5`` or ``["a", "b"]``.

        Returns
        -------
        Any
            the value, or ``text`` where it is none of these.
        """
        kind = _kinds(cls).get(name, str)
        if takes(bool, kind):
            return _WORDS.get(text.lower(), text)
        if takes(str, kind) and not text.startswith(('"', "'")):
            return text
        try:
            values = parse_toml(f"value = {text}", name=name, error=ConfigError)
        except ConfigError:
            return text
        return values["value"] if set(values) == {"value"} else text


def _kinds(cls: type[Config]) -> dict[str, Any]:
    """The types of all fields, with their bounds."""
    if cls not in _KINDS:
        hints = get_type_hints(cls, include_extras=True)
        _KINDS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _KINDS[cls]


def _parts(value: Any) -> Iterable[Any]:
    return value if isinstance(value, tuple) else (value,)


def _is_finite(value: Any) -> bool:
    """Whether all numbers are finite, as floats too."""
    largest = sys.float_info.max
    return all(abs(part) <= largest for part in _parts(value) if isinstance(part, int | float))


def _is_writable(value: Any) -> bool:
    """Whether all texts are whole characters, as files in UTF-8 need."""
    try:
        "".join(part for part in _parts(value) if isinstance(part, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def preset_values(presets: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The values of a preset; raises :class:`ConfigError` for an unknown name."""
    if name not in presets:
        options = ", ".join(presets)
        raise ConfigError(f"Preset {name!r} is not known; expected one of {options}.")
    return presets[name]
