"""``uncoat``: train a network that removes coatings, as somebody with pairs of images could."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, report_notices, report_skipped, say, settings, watched
from siren_ext.cli.options import Assignments, ConfigFile, Device, Quiet, Seed


def uncoat_(
    coated: Annotated[Path, typer.Argument(help="Folder of coated images.")],
    clean: Annotated[
        Path,
        typer.Argument(help="Folder of the same images without a coating, under the same names."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The network's .safetensors file to write.")],
    width: Annotated[
        int | None, typer.Option("--width", help="Channels of the first level; 16 suits a CPU.")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", help="Side in pixels of the square copies of the images used for training."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="How often each pair is used.")
    ] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a network that removes coatings, for 'attack --with uncoat'.

    Coat images that don't need protection, train on them, and see how much of the coating the
    network leaves in other pictures. Run the same command again to resume a stopped run.
    """
    from siren_ext.attacks.uncoat_training import UncoatConfig, matched, train_uncoater
    from siren_ext.data.dataset import ImageSet

    chosen = settings(
        UncoatConfig, config, assign, width=width, size=size, epochs=epochs, seed=seed
    )
    sets = [ImageSet.open(coated), ImageSet.open(clean)]
    report_notices([text for one in sets for text in one.notices])
    with watched(quiet) as progress:
        first, second = (one.checked(progress=progress) for one in sets)
        train_uncoater(first, second, chosen, out, device=device, progress=progress)
    say(f"Network written: {out}")
    pairs = len(matched(first, second)[0])
    if pairs < max(len(first), len(second)):
        say(
            f"It was trained on {pairs} pairs, from {len(first)} coated and {len(second)} clean "
            "images. The other images have no partner of the same name."
        )
    report_skipped([*first.problems, *second.problems], "file")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "uncoat", example="siren-ext uncoat coated clean --out uncoat.safetensors")(
        uncoat_
    )
