"""``meta``: train a start coater over many small image sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import (
    Assignments,
    Base,
    ConfigFile,
    Device,
    Quiet,
    command,
    gather,
    report_skipped,
    say,
    watched,
)
from siren_ext.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""

    @command(
        app,
        "meta",
        example="siren-ext meta sets --base pocket --out start.safetensors",
    )
    def meta(
        base: Base,
        out: Annotated[Path, typer.Option("--out", help="The coater file to write.")],
        sets: Annotated[
            list[Path] | None,
            typer.Argument(help="Image sets, or folders of image-set folders."),
        ] = None,
        corpus: Annotated[
            Path | None,
            typer.Option(
                "--corpus",
                help="Draw the sets from the pocket model's corpus instead: the folder of "
                "images.npy and captions.json.",
            ),
        ] = None,
        start: Annotated[
            str,
            typer.Option("--start", help="Coater to begin with: samples, start, a file, or none."),
        ] = "none",
        variant: Annotated[
            str | None,
            typer.Option(
                "--variant", help="default: Reptile; official: without the return to the start."
            ),
        ] = None,
        tasks: Annotated[
            int | None, typer.Option("--tasks", help="How many small sets to adapt to.")
        ] = None,
        minutes: Annotated[
            float | None,
            typer.Option("--minutes", help="Finish after the task in which this time ends."),
        ] = None,
        seed: Annotated[int | None, typer.Option("--seed")] = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Train a start coater over many small sets; 'train --start' adapts it to yours.

        It needs none of your images, and one will do for all who use the same kind of base model.
        Settings of each set's own short training are in [inner], the shape of a new coater in
        [coater]. A second call goes on where the first stopped.
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.coater.config import CoaterConfig
        from siren_ext.training.recipes import start_for_base
        from siren_ext.training.reptile import MetaConfig, TaskConfig
        from siren_ext.training.tasks import CorpusTasks, SetTasks

        values = gather(config, assign, tasks=tasks, seed=seed, variant=variant)
        inner = TaskConfig.from_dict(values.pop("inner", {}))
        shape = values.pop("coater", None)
        chosen = MetaConfig.from_dict(values)
        if bool(sets) == (corpus is not None):
            raise ConfigError("Give either folders of image sets or --corpus, one of the two.")
        if shape and start != "none":
            raise ConfigError("Settings of [coater] shape a new coater, but --start names one.")
        problems: list[tuple[str, str]] = []
        with watched(quiet) as progress:
            drawn: CorpusTasks | SetTasks
            if corpus is not None:
                drawn = CorpusTasks(corpus)
            else:
                drawn = SetTasks.open(sets or [], progress=progress)
                problems = drawn.problems
            start_for_base(
                drawn,
                base,
                out,
                chosen,
                inner,
                coater=CoaterConfig.from_dict(shape) if shape else None,
                start=None if start == "none" else Coater.load(coater_path(start)),
                device=device,
                progress=progress,
                minutes=minutes,
            )
        say(f"Start coater written: {out}")
        report_skipped(problems, "of the files could not be read and were")
