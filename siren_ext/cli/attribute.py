"""``attribute``: which images shaped a picture, and which model's pictures a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli import attribute_shadow, attribute_source
from siren_ext.cli.common import (
    command,
    explain,
    report_notices,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    ReportFolder,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.files import is_folder

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.workflows.image_attribution import ImageAttribution

_PRINTED = 5
_CACHE = "gradients.safetensors"


def images(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of your images, with captions if you have them.")
    ],
    query: Annotated[
        list[Path],
        typer.Option(
            "--query",
            metavar="PICTURE",
            help="The picture in question, or a folder of pictures; may be repeated. A .txt file "
            "beside a picture is read as its prompt.",
        ),
    ],
    out: ReportFolder,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            help="Base model: pocket (bundled), a diffusers folder or a checkpoint file. Without "
            "--adapter, only its autoencoder is used.",
        ),
    ] = "pocket",
    adapter: Annotated[
        str | None,
        typer.Option(
            "--adapter",
            metavar="FILE[:WEIGHT]",
            help="The LoRA that made the picture. Without it, only the files are compared.",
        ),
    ] = None,
    allow_partial: AllowPartial = False,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Rank your images by how much each one shaped a picture; write a page with a gallery.

    With the LoRA that made the picture, gradients of the model are compared. With the picture
    alone, patches of the files are compared. Neither proves that the picture is a copy or that a
    model was trained on your images; the page says what it does not prove. Run the same command
    again to resume a stopped one; gradients of your images are kept for other pictures.
    """
    import torch

    from siren_ext.attribution.config import AttributionConfig
    from siren_ext.data.dataset import ImageSet
    from siren_ext.suspects.local import LocalSuspect, WeightedAdapter
    from siren_ext.workflows.image_attribution import rank_images

    chosen = settings(AttributionConfig, config, assign)
    check_output(out, "ranking", force=force)
    used = [] if adapter is None else [WeightedAdapter.parse(adapter)]
    model = LocalSuspect(
        base, used, allow_partial=allow_partial, device=device, dtype=torch.float32
    )
    owned = ImageSet.open(data)
    report_notices(owned.notices)
    pictures = _pictures(query)
    with watched(quiet) as progress:
        done = rank_images(
            owned, pictures, model, out, chosen, cache=out / _CACHE, progress=progress
        )
    _print(done)
    say(str(done.report.html))
    report_skipped((*done.problems, *pictures.problems), "image")


def _pictures(query: list[Path]) -> ImageSet:
    """The pictures in question, from files and folders."""
    from dataclasses import replace

    from siren_ext.data.dataset import ImageSet
    from siren_ext.errors import DatasetError

    found: list[ImageSet] = []
    for path in query:
        if is_folder(path):
            found.append(ImageSet.open(path))
            report_notices(found[-1].notices)
            continue
        if not path.is_file():
            raise DatasetError(f"{path} does not exist; expected a picture or a folder of them.")
        beside = ImageSet.from_folder(path.parent)
        items = tuple(item for item in beside.items if item.path.name == path.name)
        if not items:
            raise DatasetError(
                f"{path} is not a picture that can be read; expected a PNG, JPEG or WebP file."
            )
        found.append(replace(beside, items=items, name=path.name, problems=()))
    items = tuple(item for one in found for item in one.items)
    problems = tuple(problem for one in found for problem in one.problems)
    return replace(found[0], items=items, name="--query", problems=problems, notices=()).checked()


def _print(done: ImageAttribution) -> None:
    """The headline and the first images on stdout, notes on stderr."""
    say(done.found.headline)
    for line in done.lines(_PRINTED):
        say(line)
    for note in done.found.notes:
        explain(f"Note: {note}")
    explain(
        "This does not prove that the picture is a copy, or that a model was trained on your "
        "images; the page says why."
    )


def register(app: typer.Typer) -> None:
    """Add the group.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    group = typer.Typer(
        help="Find which images shaped a picture, or whether a model was trained on your "
        "model's pictures.",
        no_args_is_help=True,
        add_completion=False,
    )
    app.add_typer(group, name="attribute")
    command(
        group,
        "images",
        example="siren-ext attribute images --data photos --base sd15.safetensors --adapter "
        "suspect.safetensors --query picture.png --out report",
    )(images)
    attribute_source.register(group)
    attribute_shadow.register(group)
