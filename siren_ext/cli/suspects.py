"""How a suspicious model is given on the command line, the limits of asking one, and its hosts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import explain, split_assignment
from siren_ext.documents import read_bytes
from siren_ext.errors import ConfigError
from siren_ext.files import atomic, is_present

if TYPE_CHECKING:
    from siren_ext.suspects.remote import RequestLimits
    from siren_ext.suspects.trust import Trust

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
TokenVariables = Annotated[
    list[str] | None,
    typer.Option(
        "--token-env",
        metavar="NAME",
        help="Environment variable whose value a TOML file may send as the token, besides those "
        "that begin with SIREN_; may be repeated.",
    ),
]
TrustedHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-host",
        metavar="HOST",
        help="Host that a TOML file may use, so that you are not asked about it; may be repeated.",
    ),
]
_LIST = "trusted_hosts.txt"
_MAX_LIST = 1 << 20


def takes_base(text: str) -> bool:
    """Whether a suspect is an adapter, which needs a base.

    Parameters
    ----------
    text : str
        As given to ``--suspect``.
    """
    from siren_ext.suspects.open import needs_base

    return needs_base(text)


def check_base(
    base: str | None, models: Mapping[str, str | None], advice: str = "leave it out"
) -> None:
    """Refuse a base model that no model needs.

    Parameters
    ----------
    base : str or None
        As given to ``--base``.
    models : Mapping[str, str or None]
        Two models by their options.
    advice : str
        What to do instead.

    Raises
    ------
    ConfigError
        If there is a base, and none of the models is an adapter.
    """
    if base is not None and not any(map(takes_base, filter(None, models.values()))):
        raise ConfigError(
            f"--base is for LoRA files, but neither {' nor '.join(models)} is one; {advice}."
        )


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


def trust(variables: list[str] | None, hosts: list[str] | None) -> Trust:
    """What a TOML file may use: the options, the stored hosts, and what the user agrees to.

    At a terminal the user is asked for each new host, and the answer yes is stored.

    Parameters
    ----------
    variables : list[str] | None
        ``--token-env`` options.
    hosts : list[str] | None
        ``--trust-host`` options; they are not stored.

    Returns
    -------
    Trust
        for :func:`~siren_ext.suspects.open.open_suspect`.

    Raises
    ------
    ConfigError
        the stored list can't be read, or what was given is an address.
    """
    from siren_ext.suspects.trust import Trust

    for host in hosts or ():
        if "/" in host:
            raise ConfigError(
                f"--trust-host was given {host[:80]}; expected a host name, such as "
                "api.example.com."
            )
    agreed: set[str] = set()

    def ask(what: str, unknown: Sequence[str]) -> bool:
        new = [
            host for host in unknown if host not in agreed
        ]  # suspect and reference may share one
        if new and not _ask(what, new):
            return False
        agreed.update(new)
        return True

    return Trust(
        hosts=(*(hosts or ()), *stored_hosts()),
        variables=tuple(variables or ()),
        ask=ask if sys.stdin.isatty() else None,
    )


def hosts_file() -> Path:
    """The list of hosts that the user agreed to, one a line; it may not exist."""
    return Path(typer.get_app_dir("siren-ext")) / _LIST


def stored_hosts() -> list[str]:
    """The hosts of :func:`hosts_file`; lines that begin with # are left out.

    Raises
    ------
    ConfigError
        the list can't be read or is not UTF-8.
    """
    lines = (line.strip() for line in _stored().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _stored() -> str:
    """The content of :func:`hosts_file`."""
    file = hosts_file()
    if not is_present(file):
        return ""
    try:
        return read_bytes(file, error=ConfigError, max_bytes=_MAX_LIST).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not UTF-8; expected a text file in UTF-8 with one host per line."
        ) from error


def _ask(what: str, hosts: Sequence[str]) -> bool:
    """Ask at the terminal whether hosts may be used, and store the answer yes."""
    explain(f"A TOML file describes the API. {what}")
    if not typer.confirm(f"Do you trust {' and '.join(hosts)}?", err=True):
        return False
    lines = [*_stored().splitlines(), *hosts]
    try:
        with atomic(hosts_file(), 0o600) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        explain(
            f"Note: {hosts_file()} can't be written ({error.strerror}), so you will be asked "
            "again next time."
        )
    return True
