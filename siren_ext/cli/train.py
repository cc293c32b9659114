"""``train``: train a coater for a set of images."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import (
    command,
    explain,
    gather,
    pixels,
    report_notices,
    report_skipped,
    say,
    watched,
)
from siren_ext.cli.options import (
    Assignments,
    Base,
    ClassWord,
    ConfigFile,
    Device,
    Images,
    NewCoater,
    Quiet,
    Seed,
    WorkingSize,
)
from siren_ext.errors import ConfigError

_KEY_NEXT = (
    "To coat with it you also need a key: 'siren-ext key new keys.json' makes one, and 'siren-ext "
    "coat' takes both (--coater and --key)."
)
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        help="Coater to adapt: start (bundled, trained on many sets), samples, a file or none. "
        "The preset 'default' adapts start, unless --set coater.NAME describes a new coater; "
        "the other presets make a new coater.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Settings to begin with. If you choose none, it is keyed: 48 bits, for use with a "
        "key. Presets without a key: default (a fine pattern), coarse (a tint that models "
        "learn sooner), official (as in SIREN's code) or paper (as in SIREN's text). With "
        "--config or a --start coater and no --preset, it is 'default'.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Training steps; for official and paper the default is 60 epochs."
    ),
]


def train(
    data: Images,
    base: Base,
    class_word: ClassWord,
    out: NewCoater,
    start: Start = None,
    preset: Preset = None,
    working_size: WorkingSize = None,
    steps: Steps = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a coater for your images. Keep the coater secret.

    First a LoRA is trained on the clean images, as a stand-in for somebody else's model; then the
    coater is trained against it. Run the same command again to resume a stopped run. A keyed coater
    is used with a key: 'siren-ext key new keys.json' makes one.
    """
    from siren_ext.coater.bundled import coater_path, usual_start
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.training.config import PUBLISHED_EPOCHS, TrainConfig
    from siren_ext.training.recipes import surrogate_settings, train_for_base

    groups = {"coater": CoaterConfig, "surrogate": PersonalizeConfig}
    values = gather(TrainConfig, config, assign, groups=groups, steps=steps, seed=seed)
    shape, surrogate = values.pop("coater"), values.pop("surrogate")
    preset = preset or _usual_preset(start, config)
    if start is None:
        start = "none" if shape or preset != "default" else usual_start()
    fresh = start == "none"
    shape_of_new = CoaterConfig.preset(preset, **shape) if fresh else None
    if shape and not fresh:
        raise ConfigError(
            "[coater] settings describe a new coater, but --start names one to adapt; add "
            "--start none."
        )
    chosen = TrainConfig.preset(preset, **values)
    found = ImageSet.open(data)
    report_notices(found.notices)
    with watched(quiet) as progress:
        images = found.checked(progress=progress)
        if chosen.objective != "budget" and "steps" not in values:
            count = math.ceil(PUBLISHED_EPOCHS * len(images) / chosen.batch_size)
            chosen = dataclasses.replace(chosen, steps=count)
        train_for_base(
            images,
            base,
            class_word,
            out,
            chosen,
            surrogate=surrogate_settings(preset, images, class_word, **surrogate),
            start=None if fresh else Coater.load(coater_path(start)),
            coater=shape_of_new,
            working_size=pixels(working_size),
            device=device,
            progress=progress,
        )
    say(f"Coater written: {out}")
    if shape_of_new is not None and shape_of_new.message_bits:
        explain(_KEY_NEXT)
    report_skipped(images.problems, "file")


def _usual_preset(start: str | None, config: Path | None) -> str:
    """The preset where none was chosen: a file of settings, or a start, was made for an unkeyed
    coater unless it says otherwise, so it keeps its meaning."""
    return "keyed" if config is None and start in (None, "none") else "default"


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "train",
        several=True,
        example="siren-ext train photos --base pocket --class-word dog --out coater.safetensors",
    )(train)
