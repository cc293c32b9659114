"""``twins``: does a model prefer the published copies of images to their twins?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, explain, say, settings, watched
from siren_ext.cli.generate import Adapters
from siren_ext.cli.model_file import report_left_out
from siren_ext.cli.options import AllowPartial, Assignments, Base, ConfigFile, Device, Quiet
from siren_ext.cli.output import Force, check_output
from siren_ext.files import locked, sibling

if TYPE_CHECKING:
    from siren_ext.suspects.local import LocalSuspect


def twins_(
    base: Base,
    published: Annotated[Path, typer.Option("--published", help="Folder of the published copies.")],
    twins: Annotated[
        Path, typer.Option("--twins", help="Private folder of the twins ('coat --twins').")
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file for the comparison.")],
    adapter: Adapters = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            metavar="MODEL",
            help="Model that did not see the published copies, whose preferences are subtracted: "
            "base (the default with an adapter), a LoRA of the originals, another model, or "
            "none.",
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Weight of adapters that are given without a weight.")
    ] = 1.0,
    allow_partial: AllowPartial = False,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Test with a model's file whether it prefers the published copies to their twins.

    For every image, a coin toss decided which of two copies was published. A model that was trained
    on the published copies denoises them better than their twins; any other model can't know which
    copy was chosen. 'siren-ext verify --suspect OUT' tests this. Run the same command again to
    resume a stopped one.
    """
    import torch

    from siren_ext.preference.twins import TwinFolders, measure_twins
    from siren_ext.preference.twins_config import TwinsConfig
    from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

    chosen = settings(TwinsConfig, config, assign)
    check_output(out, "scores", force=force)
    merged = [WeightedAdapter.parse(text, scale) for text in adapter or ()]
    suspect = LocalSuspect(
        base, merged, allow_partial=allow_partial, device=device, dtype=torch.float32
    )
    name = control or ("base" if merged else "none")
    with locked(out), watched(quiet) as progress:
        found = measure_twins(
            suspect,
            TwinFolders(published, twins),
            chosen,
            control=_control(name, base, device),
            partial=sibling(out, ".partial"),
            progress=progress,
        )
        found.save(out)
    report_left_out(found)
    say(f"{len(found)} images compared with their twins: {out}")
    explain(f"Test the coins: siren-ext verify --suspect {out.name} --out report")


def _control(name: str, base: str, device: str) -> LocalSuspect | None:
    """The model that ``--control`` names."""
    import torch

    from siren_ext.suspects.local import LocalSuspect
    from siren_ext.suspects.open import needs_base

    if name == "none":
        return None
    model: str | None = base if name == "base" or needs_base(name) else None
    adapter = Path(name) if name != "base" and model is not None else None
    return LocalSuspect(model or name, adapter, device=device, dtype=torch.float32)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "twins",
        example="siren-ext twins --base sd15.safetensors --adapter suspect.safetensors "
        "--published coated --twins private --out twins.json",
    )(twins_)
