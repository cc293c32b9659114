"""``serve``: coat images that are sent by HTTP."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.coat import NoScores, Quality, Recipient, Strength, key_for
from siren_ext.cli.common import command, explain, say, settings
from siren_ext.cli.options import Assignments, ConfigFile, Device, Quiet
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv

Host = Annotated[
    str,
    typer.Option(
        "--host", help="Address to listen on; if other machines can reach it, a token is required."
    ),
]
Port = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="Requests must send one of the tokens in this file, which has one per line.",
    ),
]
TokenEnv = Annotated[
    str | None,
    typer.Option(
        "--token-env", metavar="NAME", help="Read the token from this environment variable."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", help="Number of images coated at the same time, one core each (default 1)."
    ),
]
Queue = Annotated[
    int | None,
    typer.Option(
        "--queue", help="Number of further requests that may wait (default 16); others get 503."
    ),
]
MaxBytes = Annotated[
    int | None, typer.Option("--max-bytes", help="Largest upload in bytes (default 33554432).")
]
MaxPixels = Annotated[
    int | None,
    typer.Option("--max-pixels", help="Largest number of pixels in an image (default 40000000)."),
]
FileFormat = Annotated[
    str | None,
    typer.Option(
        "--format", help="keep (default), png, jpeg or webp, unless a request chooses another."
    ),
]


def serve(
    coater: Annotated[Path, typer.Option("--coater", help="The trained coater.")],
    journal: Annotated[
        Path, typer.Option("--journal", help="File that gets a line for every coated image.")
    ],
    key: KeyFile = None,
    recipient: Recipient = None,
    passphrase_env: PassphraseEnv = None,
    host: Host = "127.0.0.1",
    port: Port = 8765,
    token_file: TokenFile = None,
    token_env: TokenEnv = None,
    workers: Workers = None,
    queue: Queue = None,
    max_bytes: MaxBytes = None,
    max_pixels: MaxPixels = None,
    format_: FileFormat = None,
    quality: Quality = None,
    strength: Strength = None,
    no_scores: NoScores = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Coat images that are sent over HTTP, until Ctrl-C or SIGTERM.

    POST /coat takes an image as the body of the request and answers with the coated image; GET
    /health says whether the service is up, GET /metrics has counters for Prometheus. When it stops,
    requests that were accepted are finished first. --quiet shows warnings only.
    """
    from siren_ext.cli.terminal import StopRequest
    from siren_ext.coater.bundled import coater_path, public_warning
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.service.config import ServeConfig
    from siren_ext.service.server import serve as run
    from siren_ext.service.tokens import Tokens, refuse_open_address

    chosen = settings(
        ServeConfig,
        config,
        assign,
        workers=workers,
        queue=queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        format=format_,
        quality=quality,
        strength=strength,
        scores=False if no_scores else None,
    )
    tokens = Tokens.read(token_file, token_env)
    refuse_open_address(host, tokens)
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    secret = key_for(loaded, coater, key, recipient, passphrase_env)
    if public := public_warning(loaded.fingerprint):
        explain(f"Warning: {public}")
    level = logging.WARNING if quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(message)s")
    with StopRequest(signals=(signal.SIGINT, signal.SIGTERM)) as stop:
        run(
            loaded,
            journal,
            chosen,
            key=secret,
            tokens=tokens,
            host=host,
            port=port,
            stopped=stop.asked,
            started=_ready,
        )
    say("Stopped; all accepted images were coated.")


def _ready(address: str) -> None:
    say(f"Listening on {address}")
    sys.stdout.flush()


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "serve",
        example="siren-ext serve --coater coater.safetensors --key keys.json "
        "--journal served.jsonl --token-file tokens.txt",
    )(serve)
