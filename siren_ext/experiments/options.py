"""Options that the commands of the studies share."""

from __future__ import annotations

from typing import Annotated

import typer

StudyImages = Annotated[
    str,
    typer.Option("--data", help="Folder, dataset.toml, or samples for the bundled set."),
]
StudyCoater = Annotated[
    str,
    typer.Option("--coater", help="Coater file, or samples or keyed for a bundled one."),
]
