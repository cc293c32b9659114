"""The ``siren-ext`` program: a module per command, each a thin shell over the public functions."""

from __future__ import annotations

from typing import Annotated

import typer

from siren_ext.cli import (
    adapter,
    attack,
    attribute,
    coat,
    commit,
    decoys,
    demo,
    generate,
    investigate,
    key,
    meta,
    official,
    passive,
    personalize,
    plan,
    preference,
    report,
    robustness,
    score,
    serve,
    settings,
    trace,
    train,
    twins,
    uncoat,
    verify,
    watch,
)
from siren_ext.cli.common import say, show_any_text
from siren_ext.cli.launched import hush

_PURPOSE = "Prove whether a personalised text-to-image model was trained on your images."

app = typer.Typer(
    name="siren-ext",
    help=f"{_PURPOSE} Start with: siren-ext demo OUT",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# the order of the overview: before release, trying it out, after release, tools
for module in (demo, train, coat, watch, serve, robustness, attack, uncoat, personalize):
    module.register(app)
for module in (generate, score, preference, twins, verify, passive):
    module.register(app)
for module in (key, commit, trace, decoys, report, investigate, plan, adapter, official):
    module.register(app)
for module in (attribute, settings, meta):
    module.register(app)


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
    """Options of the program itself."""


def main() -> None:
    """Run the program.

    Exit codes: 0 done; 2 an error (the message says what to do); 3 done, but some files were
    skipped (they are listed); 130 stopped by Ctrl-C (run the same command again to resume); 1
    whoever read the output closed it.
    """
    hush()
    show_any_text()
    app()
