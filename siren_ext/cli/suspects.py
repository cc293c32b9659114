"""How a suspicious model is given on the command line, and the limits of asking one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import split_assignment

if TYPE_CHECKING:
    from siren_ext.suspects.remote import RequestLimits

SUSPECT_HELP = (
    "a1111://HOST:PORT, comfyui://HOST:PORT (with ?model=.. &lora=.. or ?workflow=..), a TOML file "
    "that describes an API, a folder of images, a diffusers folder, a checkpoint file, or a LoRA "
    "file (with --base)."
)
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="Limit for models behind an API; may be repeated. Names: timeout, attempts, backoff, "
        "pause, give_up, requests, price, budget.",
    ),
]


def limits(given: list[str] | None) -> RequestLimits:
    """Read the ``--limit`` options.

    Parameters
    ----------
    given : list[str] | None
        ``NAME=VALUE`` texts.

    Returns
    -------
    RequestLimits
        the defaults where nothing was given.

    Raises
    ------
    ConfigError
        a name is unknown or a value is out of range.
    """
    from siren_ext.suspects.remote import RequestLimits

    pairs = [split_assignment(text, "--limit") for text in given or ()]
    return RequestLimits.from_dict(
        {name: RequestLimits.value_from_text(name, value) for name, value in pairs}
    )
