"""The ``siren-ext`` command: a thin shell over the public functions, one module per party."""

from __future__ import annotations

from typing import Annotated

import typer

from siren_ext.cli import adapter, demo, evidence, investigate, meta, models, plan, protect, verify
from siren_ext.cli.common import say

app = typer.Typer(
    name="siren-ext",
    help="Prove whether a personalised text-to-image model was trained on your images. "
    "Start with: siren-ext demo OUT",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (demo, protect, models, verify, evidence, investigate, plan, adapter, meta):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        import siren_ext

        say(siren_ext.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Prove whether a personalised text-to-image model was trained on your images."""


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 2 it could not be done (the message says why); 3 done, but some files were
    skipped (they are named); 130 stopped by Ctrl-C (the same command goes on).
    """
    app()
