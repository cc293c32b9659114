"""``settings``: print the settings of a command as a TOML file."""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module
from typing import Annotated, Any

import typer
from msgspec import UNSET

from siren_ext.cli.common import command, say
from siren_ext.config import Config
from siren_ext.errors import ConfigError

_SETTINGS = {
    "demo": "siren_ext.workflows.demo:DemoConfig",
    "train": "siren_ext.training.config:TrainConfig",
    "meta": "siren_ext.training.reptile:MetaConfig",
    "coat": "siren_ext.coating.manifest:CoatConfig",
    "watch": "siren_ext.coating.manifest:CoatConfig",
    "serve": "siren_ext.service.config:ServeConfig",
    "robustness": "siren_ext.workflows.robustness:RobustnessConfig",
    "personalize": "siren_ext.personalize.config:PersonalizeConfig",
    "generate": "siren_ext.suspects.base:PromptPlan",
    "preference": "siren_ext.preference.config:PreferenceConfig",
    "verify": "siren_ext.verdict.config:VerifyConfig",
    "passive": "siren_ext.passive.config:PassiveConfig",
    "attribute": "siren_ext.attribution.config:AttributionConfig",
    "attribute-source": "siren_ext.attribution.source_config:SourceConfig",
    "attribute-shadow": "siren_ext.workflows.shadow_models:ShadowTraining",
}
_PARTS = {
    "verify": {"preference": "siren_ext.preference.config:PreferenceConfig"},
    "passive": {
        "test": "siren_ext.passive.judge_config:JudgeConfig",
        "completion": "siren_ext.passive.config:CompletionConfig",
        "likeness": "siren_ext.passive.config:LikenessConfig",
    },
    "attribute-source": {"shadow": "siren_ext.attribution.source_config:ShadowConfig"},
    "attribute-shadow": {"training": "siren_ext.personalize.config:PersonalizeConfig"},
    "train": {
        "coater": "siren_ext.coater.config:CoaterConfig",
        "surrogate": "siren_ext.personalize.config:PersonalizeConfig",
    },
    "meta": {
        "inner": "siren_ext.training.reptile:TaskConfig",
        "coater": "siren_ext.coater.config:CoaterConfig",
    },
}


def settings_class(name: str) -> type[Config]:
    """The settings class of a command.

    Parameters
    ----------
    name : str
        the command.

    Returns
    -------
    type[Config]
        its settings.

    Raises
    ------
    ConfigError
        the command has no settings.
    """
    if name not in _SETTINGS:
        raise ConfigError(f"{name!r} has no settings; expected one of {', '.join(_SETTINGS)}.")
    return _load(_SETTINGS[name])


def _load(place: str) -> type[Config]:
    module, attribute = place.split(":")
    kind: type[Config] = getattr(import_module(module), attribute)
    return kind


def settings_text(name: str) -> str:
    """A TOML file with all settings of a command; groups of settings are commented out.

    Parameters
    ----------
    name : str
        the command.

    Returns
    -------
    str
        TOML with the defaults.

    Raises
    ------
    ConfigError
        the command has no settings.
    """
    text = describe_settings(settings_class(name))
    for part, place in _PARTS.get(name, {}).items():
        lines = [f"[{part}]", *describe_settings(_load(place)).splitlines()]
        text += "\n\n" + "\n".join(line if line.startswith("#") else f"# {line}" for line in lines)
    return text


def describe_settings(kind: type[Config]) -> str:
    """All settings of a class as TOML, with its docstring as comments.

    Parameters
    ----------
    kind : type[Config]
        the settings class.

    Returns
    -------
    str
        TOML with the defaults; settings without a default are comments.
    """
    import tomli_w

    lines = [f"# {line}".rstrip() for line in inspect.getdoc(kind).splitlines()]  # type: ignore[union-attr]
    for field in dataclasses.fields(kind):
        value: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is dataclasses.MISSING or value is None or value is UNSET:
            lines.append(f"# {field.name} = (not set)")
        else:
            lines.append(tomli_w.dumps({field.name: value}).rstrip())
    return "\n".join(lines)


def settings_(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(_SETTINGS)}.")],
) -> None:
    """Print all settings of a command with their defaults, as a file for --config."""
    say(settings_text(name))


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "settings", example="siren-ext settings train > train.toml")(settings_)
