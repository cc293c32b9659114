"""``import-official``: make a coater of the two files that SIREN's authors published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, report_notices, report_skipped, say, watched
from siren_ext.cli.options import Device, NewCoater, Quiet


def import_official(
    generator: Annotated[
        Path, typer.Argument(help="The published generator, such as end_encoder.pth.")
    ],
    extractor: Annotated[
        Path, typer.Argument(help="The extractor of the same pair, such as end_decoder.pth.")
    ],
    out: NewCoater,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Your clean images. Needed for a meta-learned pair, which has no centre: it is "
            "computed from them.",
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Make a coater from the two .pth files that SIREN's authors published.

    The coater file records the SHA-256 of both files. An existing file is never overwritten.
    """
    from siren_ext.coater import official
    from siren_ext.devices import pick_device

    with watched(quiet) as progress:
        made = official.import_official(
            generator, extractor, out, data, device=pick_device(device), progress=progress
        )
    say(f"Coater written: {out}")
    say(made.summary)
    if made.images is not None:
        say(
            f"To do so, run: siren-ext train {data} --base BASE --class-word WORD --start {out} "
            "--out NEW.safetensors"
        )
        report_notices(made.images.notices)
        report_skipped(made.images.problems, "file")
    elif data is not None:
        say(f"The images of {data} were not needed.")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "import-official",
        example="siren-ext import-official end_encoder.pth end_decoder.pth --out "
        "coater.safetensors",
    )(import_official)
