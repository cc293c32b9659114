"""``score``: measure how much each image looks coated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from siren_ext.cli.common import command, report_notices, report_skipped, say, watched
from siren_ext.cli.launched import refuse_launched
from siren_ext.cli.options import (
    BatchSize,
    Device,
    Engine,
    ImageColumn,
    Processes,
    Quiet,
    ReleasedCoater,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.places import is_url, refuse_apart, several
from siren_ext.files import locked, sibling
from siren_ext.ranks import current


def score(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder of generated images, its URL, or shards (.tar, .parquet)."),
    ],
    coater: ReleasedCoater,
    out: Annotated[Path, typer.Option("--out", help="JSON file for the scores.")],
    centre: Annotated[
        Path | None,
        typer.Option(
            "--centre",
            help="Scores of 20 or more other, uncoated pictures of the same kind. What the coater "
            "also finds in those is subtracted. Decide on this before any test.",
        ),
    ] = None,
    decoys: Annotated[
        Path | None,
        typer.Option(
            "--decoys",
            help="Folder of 'siren-ext decoys': score the images with these coaters too, so that "
            "'verify' can rank the true one among them.",
        ),
    ] = None,
    batch_size: BatchSize = 16,
    processes: Processes = 1,
    engine: Engine = "local",
    image_column: ImageColumn = "",
    force: Force = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Score every image: its distance from a coated image (low = coated).

    Files that can't be read are listed and skipped (exit code 3). Run the same command again to
    resume a stopped run.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.survey import overlooked_pictures, unscored_notices
    from siren_ext.devices import pick_device
    from siren_ext.scale.score import score_with_workers
    from siren_ext.scale.shards import shards_at
    from siren_ext.scoring.centre import centred
    from siren_ext.scoring.decoys import read_index, score_decoys
    from siren_ext.scoring.score import score_folder
    from siren_ext.scoring.score_set import ScoreSet

    check_output(out, "scores", force=force)
    apart = several(processes, engine)
    shards = shards_at(folder)
    far = shards is not None or is_url(folder)
    refuse_launched("--processes, --engine, URLs and shards", given=apart or far)
    refuse_apart("--decoys", given=decoys is not None, far=apart or far)
    plain = ScoreSet.load(centre) if centre else None
    loaded = Coater.load(file := coater_path(coater), device=pick_device(device))
    if decoys is not None:
        read_index(decoys, loaded)  # what can't be used is reported before the work
    partial, journal = (sibling(out, end, ".") for end in (".partial", ".journal"))
    with locked(out), watched(quiet) as progress:
        options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
        if apart or far:
            where: dict[str, Any] = {"processes": processes, "engine": engine}
            where |= {"device": str(loaded.device), "column": image_column}
            given = shards or folder
            scores = score_with_workers(given, loaded, file, journal, **where, **options)
        else:
            scores = score_folder(folder, loaded, partial=partial, **options)
        if plain is not None:
            scores = centred(scores, plain)
        if decoys is not None:
            scores = score_decoys(scores, folder, loaded, decoys, **options)
        if current().main:
            scores.save(out)
            for left in (partial, journal):  # also of a stopped run with other --processes
                left.unlink(missing_ok=True)
    say(f"{len(scores.scores)} score{'' if len(scores.scores) == 1 else 's'}: {out}")
    if not far:
        report_notices(unscored_notices(folder))
    overlooked = [] if far else overlooked_pictures(folder)
    report_skipped([*scores.failures, *overlooked], "file")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "score",
        several=True,
        example="siren-ext score mimicries --coater coater.safetensors --out scores.json",
    )(score)
