"""``demo`` and ``settings``: the whole chain, and what can be set where."""

from __future__ import annotations

import dataclasses
import inspect
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from siren_ext.cli.common import (
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    command,
    say,
    settings,
    watched,
)
from siren_ext.config import Config
from siren_ext.errors import ConfigError

_SETTINGS = {
    "demo": "siren_ext.workflows.demo:DemoConfig",
    "train": "siren_ext.training.config:TrainConfig",
    "meta": "siren_ext.training.reptile:MetaConfig",
    "coat": "siren_ext.coating.manifest:CoatConfig",
    "personalize": "siren_ext.personalize.config:PersonalizeConfig",
    "generate": "siren_ext.suspects.base:PromptPlan",
    "verify": "siren_ext.verdict.config:VerifyConfig",
}


_PARTS = {
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
    """The settings of a command; raises :class:`ConfigError` for one that has none."""
    if name not in _SETTINGS:
        raise ConfigError(f"{name!r} has no settings; expected one of {', '.join(_SETTINGS)}.")
    return _load(_SETTINGS[name])


def _load(place: str) -> type[Config]:
    module, attribute = place.split(":")
    kind: type[Config] = getattr(import_module(module), attribute)
    return kind


def settings_text(name: str) -> str:
    """A TOML file with every setting of a command; further groups are tables, commented out."""
    text = describe_settings(settings_class(name))
    for part, place in _PARTS.get(name, {}).items():
        lines = [f"[{part}]", *describe_settings(_load(place)).splitlines()]
        text += "\n\n" + "\n".join(line if line.startswith("#") else f"# {line}" for line in lines)
    return text


def describe_settings(kind: type[Config]) -> str:
    """Every setting with its default as a TOML file, the class's explanation as comments."""
    import tomli_w

    lines = [f"# {line}".rstrip() for line in inspect.getdoc(kind).splitlines()]  # type: ignore[union-attr]
    for field in dataclasses.fields(kind):
        value: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is dataclasses.MISSING or value is None:
            lines.append(f"# {field.name} = (not set)")
        else:
            lines.append(tomli_w.dumps({field.name: value}).rstrip())
    return "\n".join(lines)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(app, "demo", example="siren-ext demo out/demo")
    def demo(
        out: Annotated[Path, typer.Argument(help="Folder for everything that is made.")],
        config: ConfigFile = None,
        assign: Assignments = None,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Show the whole chain on the bundled sample set, without a GPU or a download.

        Coats the samples, trains one model on the coated set and one innocent model on the clean
        originals, generates from both, and tests both. A second call goes on where the first
        stopped; a finished demo is only printed.
        """
        from siren_ext.workflows.demo import DemoConfig, run_demo

        chosen = settings(DemoConfig, config, assign)
        with watched(quiet) as progress:
            summary = run_demo(out, progress=progress, config=chosen, device=device)
        say(summary.text())
        say(str(summary.report))

    @command(app, "settings", example="siren-ext settings train > train.toml")
    def settings_(
        name: Annotated[str, typer.Argument(help=f"One of {', '.join(_SETTINGS)}.")],
    ) -> None:
        """Print every setting of a command with its default, ready for --config."""
        say(settings_text(name))
