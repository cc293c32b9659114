"""``meta``: train a start coater over many small image sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import (
    command,
    gather,
    pixels,
    report_notices,
    report_skipped,
    say,
    watched,
)
from siren_ext.cli.options import (
    Assignments,
    Base,
    ConfigFile,
    Device,
    NewCoater,
    Quiet,
    Seed,
    WorkingSize,
)
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.progress import Progress
    from siren_ext.training.tasks import CorpusTasks, SetTasks

ImageSets = Annotated[
    list[Path] | None, typer.Argument(help="Image sets, or folders that contain image sets.")
]
Corpus = Annotated[
    Path | None,
    typer.Option(
        "--corpus",
        help="Take the sets from the pocket model's corpus instead: a folder with images.npy and "
        "captions.json.",
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(
        "--variant",
        help="default (Reptile), or official (does not go back to the start after each set).",
    ),
]


def meta(
    base: Base,
    out: NewCoater,
    sets: ImageSets = None,
    corpus: Corpus = None,
    start: Annotated[
        str, typer.Option("--start", help="Coater to start from: samples, start, a file or none.")
    ] = "none",
    working_size: WorkingSize = None,
    variant: Variant = None,
    tasks: Annotated[
        int | None, typer.Option("--tasks", help="Number of small sets to train on.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", help="Stop after this many minutes, once the current set is finished."
        ),
    ] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a start coater on many small sets, so that 'train --start' can adapt it to yours.

    It needs none of your images, and one start coater serves everybody with the same kind of base
    model. --set inner.NAME=VALUE changes the short training on each set, --set coater.NAME=VALUE
    the shape of a new coater. Run the same command again to resume a stopped run.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.coater.config import CoaterConfig
    from siren_ext.training.recipes import start_for_base
    from siren_ext.training.reptile import MetaConfig, TaskConfig

    values = gather(
        MetaConfig,
        config,
        assign,
        groups={"inner": TaskConfig, "coater": CoaterConfig},
        tasks=tasks,
        seed=seed,
        variant=variant,
    )
    inner = TaskConfig.from_dict(values.pop("inner"))
    shape = values.pop("coater")
    chosen = MetaConfig.from_dict(values)
    if bool(sets) == (corpus is not None):
        raise ConfigError(
            "Image sets and --corpus were both given, or neither; give exactly one of them."
        )
    if shape and start != "none":
        raise ConfigError(
            "[coater] settings describe a new coater, but --start names a coater to adapt; leave "
            "one of them out."
        )
    with watched(quiet) as progress:
        drawn, problems, notices = _tasks(sets, corpus, progress)
        start_for_base(
            drawn,
            base,
            out,
            chosen,
            inner,
            coater=CoaterConfig.from_dict(shape) if shape else None,
            start=None if start == "none" else Coater.load(coater_path(start)),
            working_size=pixels(working_size),
            device=device,
            progress=progress,
            minutes=minutes,
        )
    say(f"Start coater written: {out}")
    report_notices(notices)
    report_skipped(problems, "file")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "meta", example="siren-ext meta sets --base pocket --out start.safetensors")(meta)


def _tasks(
    sets: list[Path] | None, corpus: Path | None, progress: Progress
) -> tuple[CorpusTasks | SetTasks, list[tuple[str, str]], list[str]]:
    """The small sets to train on, the files of them that can't be read, and what else to report."""
    from siren_ext.training.tasks import CorpusTasks, SetTasks

    if corpus is not None:
        return CorpusTasks(corpus), [], []
    drawn = SetTasks.open(sets or [], progress=progress)
    return drawn, drawn.problems, drawn.notices
