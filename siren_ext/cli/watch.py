"""``watch``: coat what is added to a folder."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.coat import (
    FileFormat,
    NoScores,
    Quality,
    Recipient,
    Strength,
    key_for,
    refuse_idle_quality,
)
from siren_ext.cli.common import SKIPPED, command, explain, say, settings
from siren_ext.cli.options import Assignments, ConfigFile, Device, Quiet
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv

if TYPE_CHECKING:
    from siren_ext.coating.manifest import CoatEntry


Once = Annotated[
    bool, typer.Option("--once", help="Coat what is there and stop, for a scheduled job.")
]
Interval = Annotated[
    float | None,
    typer.Option("--interval", help="Seconds between checks of the folder (default 2)."),
]
Settle = Annotated[
    float | None,
    typer.Option(
        "--settle",
        help="Seconds without a change after which a file counts as complete (default 2).",
    ),
]
Poll = Annotated[
    bool,
    typer.Option(
        "--poll",
        help="Check the folder at every interval instead of waiting for the system's file events, "
        "which network shares don't send.",
    ),
]


def watch(
    folder: Annotated[Path, typer.Argument(help="Folder to which images are added.")],
    coater: Annotated[Path, typer.Option("--coater", help="The trained coater.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the coated images.")],
    once: Once = False,
    interval: Interval = None,
    settle: Settle = None,
    poll: Poll = False,
    format_: FileFormat = None,
    quality: Quality = None,
    strength: Strength = None,
    no_scores: NoScores = False,
    key: KeyFile = None,
    recipient: Recipient = None,
    passphrase_env: PassphraseEnv = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Coat every image that is added to a folder, until Ctrl-C or SIGTERM.

    Files, settings and manifest are the same as with 'siren-ext coat', which can be used on the
    same folders while no watch is running. A file is read once it has stopped changing; files with
    temporary names are ignored. A file that can't be read is named once and tried again every
    minute. With --once, exit code 3 means that some files could not be read.
    """
    from siren_ext.cli.terminal import StopRequest, terminal_progress
    from siren_ext.coater.bundled import coater_path, public_warning
    from siren_ext.coater.coater import Coater
    from siren_ext.coating.manifest import CoatConfig
    from siren_ext.devices import pick_device
    from siren_ext.service.watch import WatchConfig, watch_folder

    scores = False if no_scores else None
    options = {"format": format_, "quality": quality, "strength": strength, "scores": scores}
    chosen = settings(CoatConfig, config, assign, **options)
    watching = settings(WatchConfig, interval=interval, settle=settle, events=not poll)
    refuse_idle_quality(chosen)
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    secret = key_for(loaded, coater, key, recipient, passphrase_env)
    if public := public_warning(loaded.fingerprint):
        explain(f"Warning: {public}")

    def coated(entry: CoatEntry) -> None:
        say(f"{entry.source} -> {entry.output}")

    with StopRequest(signals=(signal.SIGINT, signal.SIGTERM)) as stop:
        progress = terminal_progress(stop.asked, quiet=quiet)
        try:
            manifest = watch_folder(
                folder,
                loaded,
                out,
                chosen,
                watching,
                key=secret,
                once=once,
                progress=progress,
                stopped=stop.asked,
                coated=coated,
            )
        finally:
            progress.close()
    say(f"{len(manifest.entries)} images are coated: {out}")
    if once and manifest.failures:  # each was named when it was found
        raise typer.Exit(SKIPPED)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "watch",
        example="siren-ext watch uploads --coater coater.safetensors --key keys.json --out coated",
    )(watch)
