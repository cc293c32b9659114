"""The owner's commands before release: ``train`` and ``coat``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import (
    Assignments,
    Base,
    ConfigFile,
    Device,
    Quiet,
    command,
    gather,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys
from siren_ext.errors import CoaterError, ConfigError

Data = Annotated[Path, typer.Argument(help="Folder of images, kohya folder or dataset.toml.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(
        app,
        "train",
        example="siren-ext train photos --base pocket --class-word dog --out coater.safetensors",
    )
    def train(
        data: Data,
        base: Base,
        class_word: Annotated[
            str, typer.Option("--class-word", help="The noun for what the images show.")
        ],
        out: Annotated[Path, typer.Option("--out", help="The coater file to write.")],
        start: Annotated[
            str | None,
            typer.Option(
                "--start",
                help="Coater to adapt: start (bundled, trained over many sets), samples, a file "
                "or none. By default start; none where a preset or [coater] settings describe a "
                "new one.",
            ),
        ] = None,
        preset: Annotated[
            str,
            typer.Option(
                "--preset",
                help="Settings to begin with: default, coarse (a tint that is learnt sooner), "
                "keyed (48 bits, for a key), official (SIREN's code), paper (its text).",
            ),
        ] = "default",
        steps: Annotated[
            int | None,
            typer.Option(
                "--steps", help="Training steps; by default 60 epochs of published presets."
            ),
        ] = None,
        seed: Annotated[int | None, typer.Option("--seed")] = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Train a coater for your images; keep it to yourself.

        First a stand-in for an infringer's model is personalised on the clean images, then the
        coater is trained against it. A second call goes on where the first stopped.
        """
        from siren_ext.coater.bundled import coater_path, usual_start
        from siren_ext.coater.coater import Coater
        from siren_ext.coater.config import CoaterConfig
        from siren_ext.data.dataset import ImageSet
        from siren_ext.personalize.config import PersonalizeConfig
        from siren_ext.training.config import PUBLISHED_EPOCHS, TrainConfig
        from siren_ext.training.recipes import train_for_base

        values = gather(config, assign, steps=steps, seed=seed)
        shape = values.pop("coater", None)
        rehearsal = values.pop("surrogate", None)
        if start is None:
            start = "none" if shape or preset != "default" else usual_start()
        fresh = start == "none"
        if shape and not fresh:
            raise ConfigError(
                "Settings of [coater] shape a new coater, but one is adapted here: add "
                "--start none."
            )
        chosen = TrainConfig.preset(preset, **values)
        with watched(quiet) as progress:
            images = ImageSet.open(data).checked(progress=progress)
            if chosen.objective != "budget" and "steps" not in values:
                count = math.ceil(PUBLISHED_EPOCHS * len(images) / chosen.batch_size)
                chosen = dataclasses.replace(chosen, steps=count)
            train_for_base(
                images,
                base,
                class_word,
                out,
                chosen,
                surrogate=PersonalizeConfig.from_dict(rehearsal) if rehearsal else None,
                start=None if fresh else Coater.load(coater_path(start)),
                coater=CoaterConfig.preset(preset, **(shape or {})) if fresh else None,
                device=device,
                progress=progress,
            )
        say(f"Coater written: {out}")
        report_skipped(images.problems, "of the files could not be read and were")

    @command(
        app,
        "coat",
        example="siren-ext coat photos --coater coater.safetensors --out coated",
    )
    def coat(
        data: Data,
        coater: Annotated[Path, typer.Option("--coater", help="The trained coater.")],
        out: Annotated[Path, typer.Option("--out", help="Folder for the coated images.")],
        layout: Annotated[
            str | None, typer.Option("--layout", help="plain (default) or kohya.")
        ] = None,
        share: Annotated[
            float | None, typer.Option("--share", help="Part of the images to coat, 0 to 1.")
        ] = None,
        strength: Annotated[
            float | None, typer.Option("--strength", help="Factor on the coating; 1 as trained.")
        ] = None,
        seed: Annotated[
            int | None, typer.Option("--seed", help="Chooses the images when --share < 1.")
        ] = None,
        key: KeyFile = None,
        recipient: Annotated[
            str | None,
            typer.Option("--recipient", help="Whose copy this is: takes that recipient's key."),
        ] = None,
        passphrase_env: PassphraseEnv = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 8,
        workers: Annotated[int, typer.Option("--workers", min=1)] = 2,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Write a coated copy of every image, to publish instead of the originals.

        Names, sizes, transparency, EXIF and captions are kept. Files that can't be read are
        named and skipped (exit code 3). A second call goes on where the first stopped. A keyed
        coater needs a --key, and writes its message into every image.
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.coating.folder import coat_folder
        from siren_ext.coating.manifest import CoatConfig
        from siren_ext.data.dataset import ImageSet
        from siren_ext.devices import pick_device

        chosen = settings(
            CoatConfig, config, assign, layout=layout, share=share, strength=strength, seed=seed
        )
        images = ImageSet.open(data)
        loaded = Coater.load(coater_path(coater), device=pick_device(device))
        if key is None and recipient is not None:
            raise ConfigError("--recipient chooses among the keys of a file; add --key FILE.")
        if loaded.keyed == (key is None):
            raise CoaterError(
                f"{coater} is keyed; add --key FILE ('siren-ext key new' makes one)."
                if loaded.keyed
                else f"{coater} is not keyed: it takes no --key. 'siren-ext train --preset keyed' "
                "makes one that does."
            )
        secret = None if key is None else open_keys(key, passphrase_env).key(recipient)
        with watched(quiet) as progress:
            manifest = coat_folder(
                images,
                loaded,
                out,
                chosen,
                key=secret,
                batch_size=batch_size,
                workers=workers,
                progress=progress,
            )
        coated = sum(entry.coated for entry in manifest.entries)
        say(f"{coated} of {len(manifest.entries)} images coated: {out}")
        failures = [(failure.source, failure.error) for failure in manifest.failures]
        report_skipped(failures, "of the files could not be coated and were")
