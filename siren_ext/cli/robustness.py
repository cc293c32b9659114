"""``robustness``: what edits, codecs and restoring leave of a coating, before publishing."""

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
from siren_ext.cli.options import Assignments, ConfigFile, Device, Images, Quiet, ResultFolder
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, Recipient, open_keys
from siren_ext.errors import ConfigError


def robustness_(
    data: Images,
    coater: Annotated[Path, typer.Option("--coater", help="The coater to test.")],
    out: ResultFolder,
    key: KeyFile = None,
    recipient: Recipient = None,
    passphrase_env: PassphraseEnv = None,
    count: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--count",
            help="Largest number of images to use (default 48; at least 8, but use 24 or more "
            "for narrower intervals).",
        ),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="NAME[,NAME...]",
            help="Attacks to use ('siren-ext attack --list' shows them); by default all quick "
            "ones.",
        ),
    ] = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Coat a sample of your images, attack the copies, and measure what is left of the coating.

    Writes a table (robustness.json, robustness.csv) and a page (robustness.html). It is about the
    coating in the images, not about what a model learns from them. A keyed coater can be tested
    without --key: a random message is then used for the test. Run the same command again to resume
    a stopped run.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.data.dataset import ImageSet
    from siren_ext.devices import pick_device
    from siren_ext.workflows.robustness import RobustnessConfig, measure_robustness

    if key is None and recipient is not None:
        raise ConfigError("--recipient picks a key from a key file; add --key FILE.")
    attacks = None if names is None else [one.strip() for one in names.split(",") if one.strip()]
    chosen = settings(RobustnessConfig, config, assign, images=count, attacks=attacks)
    check_output(out, "robustness", force=force)
    images = ImageSet.open(data)
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    secret = None if key is None else open_keys(key, passphrase_env).key(recipient)
    with watched(quiet) as progress:
        found = measure_robustness(
            images, loaded, out, chosen, key=secret, replace_old=True, progress=progress
        )
    for line in found.table():
        say(line)
    say(found.summary())
    say(f"{found.images} images measured: {out}")
    for warning in found.warnings():
        explain(f"Note: {warning}")
    report_notices(images.notices)
    report_skipped([*images.problems, *found.problems.items()], "file")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "robustness",
        example="siren-ext robustness photos --coater coater.safetensors --out robustness",
    )(robustness_)
