"""``key``: make and list key files: ``key new``, ``add``, ``show`` and ``signing``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, explain, refuse_existing, say
from siren_ext.cli.passphrase import PassphraseEnv, open_keys, passphrase
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import KeyRing

NewFile = Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; a new one.")]
OldFile = Annotated[Path, typer.Argument(metavar="FILE", help="A key file.")]
Recipients = Annotated[
    list[str] | None,
    typer.Option("--recipient", metavar="NAME", help="Recipient who gets a key; may be repeated."),
]
Bits = Annotated[
    int, typer.Option("--bits", min=16, max=512, help="Bits in the message, as in the coater.")
]
_ADVICE = (
    "Keep the file and its passphrase: without both you can't prove anything. Make backup copies."
)


def new(
    file: NewFile,
    recipient: Recipients = None,
    bits: Bits = 48,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Draw a secret message for a keyed coater, one per recipient, into an encrypted file.

    Messages are drawn from the operating system's random numbers and are never shown. An existing
    file is not overwritten.
    """
    from siren_ext.keys.coating_key import KeyRing

    ring = KeyRing.draw(recipient or (), bits)
    refuse_existing(file)
    ring.save(file, passphrase(str(file), passphrase_env, fresh=True))
    _list_keys(ring)
    explain(_ADVICE)


def add(file: OldFile, recipient: Recipients = None, passphrase_env: PassphraseEnv = None) -> None:
    """Draw keys for more recipients; the keys in the file stay as they are."""
    if not recipient:
        raise ConfigError("There is nothing to add; name a recipient with --recipient.")
    from siren_ext.keys.coating_key import FORMAT, KeyRing
    from siren_ext.keys.encrypted_file import require_encrypted

    require_encrypted(file, FORMAT)
    secret = passphrase(str(file), passphrase_env)
    ring = KeyRing.load(file, secret).extended(recipient)
    ring.save(file, secret, replace=True)
    _list_keys(ring)
    explain("An earlier commitment does not cover the new keys; make a new one.")


def show(file: OldFile, passphrase_env: PassphraseEnv = None) -> None:
    """List the recipients in a key file and their keys' fingerprints, never the keys."""
    _list_keys(open_keys(file, passphrase_env))


def signing(file: NewFile, passphrase_env: PassphraseEnv = None) -> None:
    """Make a key to sign reports with; prints its public half, which you may publish."""
    from siren_ext.keys.signing import Signer

    refuse_existing(file)
    signer = Signer.draw()
    signer.save(file, passphrase(str(file), passphrase_env, fresh=True))
    say(f"public key: {signer.public}")


def register(app: typer.Typer) -> None:
    """Add the group of commands.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="key", help="Make and list key files: key new, add, show, signing.")
    command(group, "new", example="siren-ext key new keys.json --recipient gallery")(new)
    command(group, "add", example="siren-ext key add keys.json --recipient printer")(add)
    command(group, "show", example="siren-ext key show keys.json")(show)
    command(group, "signing", example="siren-ext key signing signing.json")(signing)


def _list_keys(ring: KeyRing) -> None:
    for name, key in ring:
        say(f"{name or '(unnamed)'}: {key.bits} bits, fingerprint {key.fingerprint()}")
