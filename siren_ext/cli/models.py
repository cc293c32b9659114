"""What somebody does with published images: ``personalize`` a model and ``generate`` from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import (
    AllowPartial,
    Assignments,
    Base,
    ConfigFile,
    Count,
    Device,
    Guidance,
    ImageSeed,
    Prompts,
    Quiet,
    SamplingSteps,
    Side,
    command,
    explain,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.investigate import SUSPECT_HELP, LimitOptions, limits
from siren_ext.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(
        app,
        "personalize",
        example="siren-ext personalize coated --base pocket --out suspect.safetensors",
    )
    def personalize_(
        data: Annotated[Path, typer.Argument(help="Folder, kohya folder or dataset.toml.")],
        base: Base,
        out: Annotated[Path, typer.Option("--out", help="The LoRA file to write (kohya keys).")],
        steps: Annotated[int | None, typer.Option("--steps")] = None,
        rank: Annotated[int | None, typer.Option("--rank")] = None,
        learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
        prompt: Annotated[
            str | None,
            typer.Option("--prompt", help="One caption for all; without it the data's own."),
        ] = None,
        seed: Annotated[int | None, typer.Option("--seed")] = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Train a LoRA on a folder of images, as an infringer or an honest artist would.

        The clean reference that 'verify' needs is made the same way from the originals.
        """
        from siren_ext.data.dataset import ImageSet
        from siren_ext.personalize.config import PersonalizeConfig
        from siren_ext.personalize.run import personalize

        chosen = settings(
            PersonalizeConfig,
            config,
            assign,
            steps=steps,
            rank=rank,
            learning_rate=learning_rate,
            prompt=prompt,
            seed=seed,
        )
        with watched(quiet) as progress:
            images = ImageSet.open(data).checked(progress=progress)
            personalize(images, base, chosen, out, device=device, progress=progress)
        say(f"LoRA written: {out}")
        report_skipped(images.problems, "of the files could not be read and were")

    @command(
        app,
        "generate",
        example="siren-ext generate --base pocket --adapter suspect.safetensors "
        "--prompt 'an image of a pokemon' -n 100 --out mimicries",
    )
    def generate(
        out: Annotated[Path, typer.Option("--out", help="Folder for the images.")],
        suspect: Annotated[
            str | None, typer.Option("--suspect", help=f"Instead of --base: {SUSPECT_HELP}")
        ] = None,
        base: Annotated[
            str | None,
            typer.Option("--base", help="pocket, a diffusers folder or a single-file checkpoint."),
        ] = None,
        prompt: Prompts = None,
        adapter: Annotated[
            list[str] | None,
            typer.Option(
                "--adapter",
                metavar="FILE[:WEIGHT]",
                help="A LoRA, LyCORIS or peft adapter to merge into the base, or a textual "
                "inversion; may be repeated.",
            ),
        ] = None,
        count: Count = None,
        seed: ImageSeed = None,
        steps: SamplingSteps = None,
        guidance: Guidance = None,
        size: Side = None,
        negative: Annotated[str | None, typer.Option("--negative", help="Negative prompt.")] = None,
        scale: Annotated[
            float, typer.Option("--scale", help="Strength of adapters without a weight.")
        ] = 1.0,
        allow_partial: AllowPartial = False,
        limit: LimitOptions = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 8,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Generate images from a model, with a record of prompts, seeds and settings.

        A second call makes only the images that are still missing.
        """
        from siren_ext.suspects.base import PromptPlan, Suspect, generate_images, read_missed
        from siren_ext.suspects.local import LocalSuspect, WeightedAdapter
        from siren_ext.suspects.open import open_suspect

        plan = settings(
            PromptPlan,
            config,
            assign,
            prompts=tuple(prompt) if prompt else None,
            count=count,
            seed=seed,
            steps=steps,
            guidance=guidance,
            size=size,
            negative=negative,
        )
        chosen = limits(limit)
        source: Suspect
        if suspect is not None:
            if adapter is not None:
                raise ConfigError("--adapter goes with --base; give the LoRA file as --suspect.")
            source = open_suspect(
                suspect,
                base=base,
                scale=scale,
                allow_partial=allow_partial,
                limits=chosen,
                device=device,
                batch_size=batch_size,
            )
        elif base is not None:
            adapters = [WeightedAdapter.parse(text, scale) for text in adapter or ()]
            source = LocalSuspect(
                base,
                adapters,
                allow_partial=allow_partial,
                device=device,
                batch_size=batch_size,
            )
        else:
            raise ConfigError("Nothing to generate from: give --base or --suspect.")
        with watched(quiet) as progress:
            paths = generate_images(source, plan, out, progress=progress)
        if allow_partial and isinstance(source, LocalSuspect):
            for warning in source.warnings:
                explain(f"Warning: {warning}")
        say(f"{len(paths)} images: {out}")
        report_skipped(read_missed(out), "images could not be had and were")
