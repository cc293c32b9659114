"""``demo``: the whole chain on the bundled samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, say, settings, watched
from siren_ext.cli.options import Assignments, ConfigFile, Device, Quiet


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for all results.")],
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Run the whole chain on the bundled sample images, without a GPU or a download.

    Coats the samples with a key, trains one model on the coated images and one innocent model on
    the clean originals, generates images with both, and tests both with the key. With '--set
    coater=samples' the coating has no key, and both are compared with a third, clean model. Run the
    same command again to resume a stopped demo; a finished one is only printed.
    """
    from siren_ext.workflows.demo import DemoConfig, run_demo

    chosen = settings(DemoConfig, config, assign)
    with watched(quiet) as progress:
        summary = run_demo(out, progress=progress, config=chosen, device=device)
    say(summary.text())
    say(str(summary.report))


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "demo", example="siren-ext demo out/demo")(demo)
