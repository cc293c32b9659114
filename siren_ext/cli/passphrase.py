"""Passphrases: typed without echo or taken from a variable of the environment, never an option."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.errors import ConfigError
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import KeyRing
    from siren_ext.keys.signing import Signer

PassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--passphrase-env",
        metavar="NAME",
        help="Take the passphrase from this environment variable instead of asking for it.",
    ),
]
KeyFile = Annotated[
    Path | None, typer.Option("--key", help="Key file of 'siren-ext key new'; asks its passphrase.")
]


def passphrase(what: str, variable: str | None, *, fresh: bool = False) -> str:
    """The passphrase for ``what``; a fresh one is asked for twice.

    Raises :class:`ConfigError` when the variable is not set, or nobody is there to be asked.
    """
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise ConfigError(
                f"The environment variable {str(variable)[:80]!r} is not set; put the "
                "passphrase into it, or leave the option out to be asked."
            )
        return value
    if not sys.stdin.isatty():
        raise ConfigError(
            f"The passphrase of {what} is needed, but there is no terminal to ask at; name an "
            "environment variable that holds it with --passphrase-env."
        )
    text = f"{'New passphrase' if fresh else 'Passphrase'} of {what}"
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=fresh, err=True))


def open_keys(file: Path, variable: str | None) -> KeyRing:
    """The keys of an encrypted file; raises :class:`SirenError` with what is wrong."""
    from siren_ext.keys.coating_key import FORMAT, KeyRing
    from siren_ext.keys.encrypted_file import require_encrypted

    require_encrypted(file, FORMAT)  # before anybody types
    return KeyRing.load(file, passphrase(printable(file), variable))


def open_signer(file: Path, variable: str | None) -> Signer:
    """The signing key of an encrypted file; raises :class:`SirenError` with what is wrong."""
    from siren_ext.keys.encrypted_file import require_encrypted
    from siren_ext.keys.signing import FORMAT, Signer

    require_encrypted(file, FORMAT)
    return Signer.load(file, passphrase(printable(file), variable))
