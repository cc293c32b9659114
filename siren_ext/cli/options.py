"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Base = Annotated[
    str,
    typer.Option(
        "--base", help="Base model: pocket (bundled), a diffusers folder or a checkpoint file."
    ),
]
ClassWord = Annotated[
    str, typer.Option("--class-word", help="Noun for what the images show, such as dog.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed.")]
Images = Annotated[Path, typer.Argument(help="Folder of images, kohya folder or dataset.toml.")]
NewCoater = Annotated[Path, typer.Option("--out", help="Coater file to write.")]
ReleasedCoater = Annotated[
    Path, typer.Option("--coater", help="The coater that the published images were coated with.")
]
SuspectScores = Annotated[
    Path, typer.Option("--suspect", help="Scores of the suspicious model's images.")
]
ROOT_HELP = "The authority's certificate (PEM), or the block's header for OpenTimestamps."
ReportFolder = Annotated[Path, typer.Option("--out", help="Folder for the report.")]
ResultFolder = Annotated[Path, typer.Option("--out", help="Folder for all results.")]
Prompts = Annotated[
    list[str] | None,
    typer.Option("--prompt", help="Prompt; may be repeated, and prompts are used in turn."),
]
Count = Annotated[int | None, typer.Option("-n", "--count", help="Number of images to make.")]
ImageSeed = Annotated[int | None, typer.Option("--seed", help="Image i is made with seed + i.")]
SamplingSteps = Annotated[int | None, typer.Option("--steps", help="Sampling steps.")]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", help="Classifier-free guidance scale; 1 means no guidance."),
]
Side = Annotated[
    int | None, typer.Option("--size", help="Image side in pixels; 0 for the model's own size.")
]
AllowPartial = Annotated[
    bool,
    typer.Option(
        "--allow-partial", help="Load the parts of an adapter that fit, and list those that don't."
    ),
]
WorkingSize = Annotated[
    str | None,
    typer.Option(
        "--working-size",
        metavar="PIXELS",
        help="Side in pixels at which the coater sees images, or keep for the size that --start "
        "has. By default the size is changed if it does not fit the base model, and a "
        "message says so.",
    ),
]
Processes = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        help="Number of worker processes, each with its own copy of the networks.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Where the processes run: local (this machine) or ray (a Ray cluster; all its "
        "machines must reach the files under the same paths, or as URLs such as "
        "s3://bucket/photos).",
    ),
]
ImageColumn = Annotated[
    str,
    typer.Option(
        "--image-column",
        metavar="NAME",
        help="The column of images in Parquet files, if there are several.",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Images processed at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:0 or mps.", rich_help_panel="Running")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Don't show progress.", rich_help_panel="Running")
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel="Running"),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Read settings from this file; command-line options override it. "
        "'siren-ext settings NAME' prints all settings of a command.",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting; may be repeated."),
]
