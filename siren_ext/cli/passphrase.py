"""Key files and their passphrases.

A passphrase is typed without echo or read from an environment variable; it is never an option, as
other users of the machine can see those.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from siren_ext.errors import ConfigError
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.evidence.counting import FiledKey
    from siren_ext.keys.coating_key import KeyRing
    from siren_ext.keys.derived import KeySalt
    from siren_ext.keys.signing import Signer

T = TypeVar("T")

PassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--passphrase-env",
        metavar="NAME",
        help="Read the passphrase from this environment variable instead of asking for it.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", help="Key file of 'siren-ext key new'; asks for its passphrase."),
]
Recipient = Annotated[
    str | None,
    typer.Option("--recipient", help="Whose key to use, if the file holds several."),
]


def passphrase(what: str, variable: str | None, *, fresh: bool = False) -> str:
    """Read a passphrase from the environment or the terminal.

    Parameters
    ----------
    what : str
        the file that it opens, for the prompt.
    variable : str | None
        environment variable that holds it; None to ask at the terminal.
    fresh : bool
        whether it is new, and so asked for twice.

    Returns
    -------
    str
        the passphrase as typed; its length is checked when a file is written.

    Raises
    ------
    ConfigError
        the variable is not set, or there is no terminal to ask at.
    """
    if variable is not None:
        value = os.environ.get(variable)
        if value is None:
            raise ConfigError(
                f"The environment variable {str(variable)[:80]!r} is not set; set it to the "
                "passphrase, or leave out the option to type the passphrase instead."
            )
        return value
    if not sys.stdin.isatty():
        raise ConfigError(
            f"The passphrase of {what} is needed, but there is no terminal to type it at; use "
            "--passphrase-env to name an environment variable that contains it."
        )
    text = f"{'New passphrase' if fresh else 'Passphrase'} of {what}"
    return str(typer.prompt(text, hide_input=True, confirmation_prompt=fresh, err=True))


def open_keys(file: Path, variable: str | None) -> KeyRing:
    """Open a key file; asks for its passphrase once the file is known to be one.

    Parameters
    ----------
    file : Path
        written by ``siren-ext key new``.
    variable : str | None
        environment variable with the passphrase; None to ask.

    Returns
    -------
    KeyRing
        one key per recipient.

    Raises
    ------
    EvidenceError
        the file is missing, damaged or of another kind, or the passphrase is wrong.
    ConfigError
        there is no passphrase.
    """
    from siren_ext.keys.coating_key import FORMAT, KeyRing

    return _opened(file, variable, FORMAT, KeyRing.load)


def open_key(file: Path, recipient: str | None, variable: str | None) -> FiledKey:
    """Open one key of a key file, for a test that is entered into the file's ledger.

    Parameters
    ----------
    file : Path
        written by ``siren-ext key new``.
    recipient : str | None
        whose key; None if the file holds one.
    variable : str | None
        environment variable with the passphrase; None to ask.

    Returns
    -------
    FiledKey
        the key.

    Raises
    ------
    EvidenceError
        as :func:`open_keys`, or there is no such recipient.
    ConfigError
        there is no passphrase.
    """
    from siren_ext.evidence.counting import FiledKey

    ring = open_keys(file, variable)
    return FiledKey(ring.key(recipient), file, len(ring))


def open_salt(file: Path, variable: str | None) -> KeySalt:
    """Open a salt, from which keys are derived.

    The parameters and errors are those of :func:`open_keys`; the file is one that
    ``siren-ext key salt`` wrote.
    """
    from siren_ext.keys.derived import FORMAT, KeySalt

    return _opened(file, variable, FORMAT, KeySalt.load)


def open_signer(file: Path, variable: str | None) -> Signer:
    """Open a signing key, which signs reports.

    The parameters and errors are those of :func:`open_keys`; the file is one that
    ``siren-ext key signing`` wrote.
    """
    from siren_ext.keys.signing import FORMAT, Signer

    return _opened(file, variable, FORMAT, Signer.load)


def _opened(file: Path, variable: str | None, kind: str, load: Callable[[Path, str], T]) -> T:
    """Load an encrypted file; its kind is checked before the passphrase is asked for."""
    from siren_ext.keys.encrypted_file import require_encrypted

    require_encrypted(file, kind)
    return load(file, passphrase(printable(file), variable))
