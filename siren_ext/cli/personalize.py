"""``personalize``: train a LoRA on images, as the trainer of a suspicious model might."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, report_notices, report_skipped, say, settings, watched
from siren_ext.cli.options import Assignments, Base, ConfigFile, Device, Images, Quiet, Seed
from siren_ext.cli.output import Force, check_output


def personalize_(
    data: Images,
    base: Base,
    out: Annotated[Path, typer.Option("--out", help="LoRA file to write (kohya keys).")],
    steps: Annotated[int | None, typer.Option("--steps", help="Training steps.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Rank of the LoRA.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Learning rate.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="Caption for all images, instead of their own captions."),
    ] = None,
    seed: Seed = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a LoRA on a set of images, as an infringer or an honest artist would.

    Train the clean reference that 'verify' needs in the same way on the originals.
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
    check_output(out, "adapter", force=force)
    found = ImageSet.open(data)
    report_notices(found.notices)
    with watched(quiet) as progress:
        images = found.checked(progress=progress)
        personalize(images, base, chosen, out, device=device, progress=progress)
    say(f"LoRA written: {out}")
    report_skipped(images.problems, "file")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "personalize",
        example="siren-ext personalize coated --base pocket --out suspect.safetensors",
    )(personalize_)
