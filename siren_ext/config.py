"""Frozen settings: validated when made, written to TOML or JSON, stored in every artefact."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from siren_ext.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T", bound="Config")


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all settings; subclasses are frozen dataclasses with plain values.

    ``bounds`` maps a field to its inclusive (low, high); ``choices`` to the allowed values.
    """

    bounds: ClassVar[dict[str, tuple[float, float]]] = {}
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {}

    def __post_init__(self) -> None:
        """Check every bounded or enumerated field; raises :class:`ConfigError`."""
        for name, (low, high) in self.bounds.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(
                    f"{type(self).__name__}.{name} is {value!r}; expected a number from {low} to "
                    f"{high}."
                )
        for name, allowed in self.choices.items():
            value = getattr(self, name)
            if value not in allowed:
                options = ", ".join(repr(v) for v in allowed)
                raise ConfigError(
                    f"{type(self).__name__}.{name} is {value!r}; expected one of {options}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, nested settings as dictionaries."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[T], values: dict[str, Any]) -> T:
        """Settings from plain values; an unknown name raises :class:`ConfigError`."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ConfigError(
                f"{cls.__name__} has no setting {', '.join(unknown)}; it has {', '.join(fields)}."
            )
        ready = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**ready)

    @classmethod
    def from_toml(cls: type[T], path: Path) -> T:
        """Read settings from a TOML file; raises :class:`ConfigError` with the file's name."""
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} can't be read as TOML: {error}") from error
        return cls.from_dict(values)

    def to_toml(self, path: Path) -> None:
        """Write the settings to a TOML file (None values are left out)."""
        import tomli_w

        plain = {name: value for name, value in self.to_dict().items() if value is not None}
        Path(path).write_text(tomli_w.dumps(plain), encoding="utf-8")


def preset_values(presets: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The values of a preset; raises :class:`ConfigError` for an unknown name."""
    if name not in presets:
        options = ", ".join(presets)
        raise ConfigError(f"Preset {name!r} is not known; expected one of {options}.")
    return presets[name]
