"""``decoys``: make coaters like one's own, to rank it among them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, report_notices, say, watched
from siren_ext.cli.options import Base, Device, Images, Quiet


def decoys(
    coater: Annotated[Path, typer.Argument(help="Your coater; it must be one without a key.")],
    data: Images,
    base: Base,
    out: Annotated[Path, typer.Option("--out", help="Folder for the decoys.")],
    count: Annotated[
        int,
        typer.Option(
            "--count",
            "-k",
            help="Number of decoys, K; the first test can't give a p below 2 / (K + 1).",
        ),
    ] = 39,
    surrogate: Annotated[
        Path | None,
        typer.Option(
            "--surrogate",
            help="The LoRA (or model) of your clean images that 'train' saved beside the coater, "
            "if it has been moved.",
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Make decoys of a coater that has no key: the same recipe with other random patterns.

    Give the images and the base model that the coater was trained with. Each decoy takes as long to
    train as the coater did (minutes with the preset 'coarse'). With 39 decoys the first test of the
    coater can reach a risk of 0.05. Then 'siren-ext score --decoys' and 'siren-ext verify' rank the
    true coater among them. Run the same command again to resume a stopped run, or with a larger
    --count to make more.
    """
    from siren_ext.data.dataset import ImageSet
    from siren_ext.training.decoys import make_decoys

    found = ImageSet.open(data)
    report_notices(found.notices)
    with watched(quiet) as progress:
        index = make_decoys(
            coater, found, base, out, count=count, surrogate=surrogate, device=device,
            progress=progress,
        )  # fmt: skip
    say(f"{len(index.decoys)} decoys: {out}")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "decoys",
        example="siren-ext decoys coater.safetensors photos --base v1-5.safetensors --out decoys",
    )(decoys)
