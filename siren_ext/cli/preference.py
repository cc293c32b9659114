"""``preference``: measure, from a model's file, which messages it has learnt to prefer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import (
    command,
    explain,
    report_notices,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.generate import Adapters
from siren_ext.cli.model_file import (
    Controls,
    ModelFile,
    Others,
    Scale,
    report_left_out,
)
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    Base,
    ConfigFile,
    Device,
    Images,
    Quiet,
    ReleasedCoater,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.files import locked, sibling
from siren_ext.ranks import current


def preference(
    data: Images,
    base: Base,
    coater: ReleasedCoater,
    out: Annotated[Path, typer.Option("--out", help="JSON file for the measurement.")],
    adapter: Adapters = None,
    control: Controls = None,
    other: Others = None,
    scale: Scale = 1.0,
    allow_partial: AllowPartial = False,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure what a model has learnt, from its file: does it know the coating?

    Give the folder of the original images, not of the coated copies. The key is not needed here;
    'siren-ext verify --suspect OUT --coater COATER --key keys.json' tests it against the result.
    Run the same command again to resume a stopped one.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.preference.measure import measure_preference

    chosen = settings(PreferenceConfig, config, assign)
    check_output(out, "scores", force=force)
    loaded = Coater.load(coater_path(coater))
    model = ModelFile(base, adapter or (), control or (), scale, allow_partial, device, other or ())
    suspect, clean, strangers = model.suspect(), model.clean(), model.strangers()
    given = ImageSet.open(data)
    report_notices(given.notices)
    with locked(out), watched(quiet) as progress:
        images = given.checked(progress=progress)
        found = measure_preference(
            suspect,
            images,
            loaded,
            chosen,
            controls=clean,
            others=strangers,
            partial=sibling(out, ".partial"),
            progress=progress,
        )
        if current().main:
            found.save(out)
    report_left_out(found)
    say(f"Preference measured on {len(found)} images: {out}")
    explain(
        f"Test a key: siren-ext verify --suspect {out.name} --coater {coater} --key keys.json "
        "--out report"
    )
    report_skipped(images.problems, "image")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "preference",
        several=True,
        example="siren-ext preference photos --base sd15.safetensors --adapter suspect.safetensors "
        "--coater coater.safetensors --out preference.json",
    )(preference)
