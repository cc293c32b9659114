"""``key``: make and list key files, and derive keys that nobody chose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, explain, refuse_existing, say
from siren_ext.cli.options import ROOT_HELP
from siren_ext.cli.passphrase import PassphraseEnv, open_keys, open_salt, passphrase
from siren_ext.errors import ConfigError
from siren_ext.files import locked, write_json

if TYPE_CHECKING:
    from siren_ext.keys.coating_key import KeyRing

NewFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist yet.")
]
OldFile = Annotated[Path, typer.Argument(metavar="FILE", help="A key file.")]
Recipients = Annotated[
    list[str] | None,
    typer.Option(
        "--recipient",
        metavar="NAME",
        help="Name of a recipient who gets a key of their own; may be repeated.",
    ),
]
Bits = Annotated[
    int,
    typer.Option(
        "--bits", min=16, max=512, help="Bits in the message; the same number as in the coater."
    ),
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
    """Draw a secret message for a keyed coater, one per recipient, and save it encrypted.

    Messages are drawn from the operating system's random numbers and are never shown. An existing
    file is not overwritten.
    """
    from siren_ext.evidence.ledger import start_ledger
    from siren_ext.keys.coating_key import KeyRing

    ring = KeyRing.draw(recipient or (), bits)
    refuse_existing(file)
    ring.save(file, passphrase(str(file), passphrase_env, fresh=True))
    start_ledger(file)
    _list_keys(ring)
    explain(_ADVICE)


def add(file: OldFile, recipient: Recipients = None, passphrase_env: PassphraseEnv = None) -> None:
    """Draw keys for more recipients; the keys in the file stay as they are."""
    if not recipient:
        raise ConfigError("No recipient was given; name one with --recipient.")
    from siren_ext.keys.coating_key import FORMAT, KeyRing
    from siren_ext.keys.encrypted_file import require_encrypted

    require_encrypted(file, FORMAT)
    secret = passphrase(str(file), passphrase_env)
    with locked(file):  # a key that another command adds at the same time is not lost
        ring = KeyRing.load(file, secret).extended(recipient)
        ring.save(file, secret, replace=True)
    _list_keys(ring)
    explain("An earlier commitment does not cover the new keys; make a new commitment.")


def show(file: OldFile, passphrase_env: PassphraseEnv = None) -> None:
    """List the recipients in a key file and their keys' fingerprints, never the keys."""
    _list_keys(open_keys(file, passphrase_env))


def salt(
    file: NewFile,
    recipient: Recipients = None,
    bits: Bits = 48,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Draw a secret salt from which keys will be derived later, so that nobody can choose the keys.

    Next steps: commit --salt, commit stamp, key derive. Every recipient counts: p is multiplied by
    the number of recipients.
    """
    from siren_ext.keys.derived import KeySalt

    refuse_existing(file)
    made = KeySalt(recipient or (), bits)
    made.save(file, passphrase(str(file), passphrase_env, fresh=True))
    say(f"salt of {len(made.recipients)} x {made.bits} bits, hash {made.fingerprint()}")
    explain(_ADVICE)


def derive(
    file: NewFile,
    salt: Annotated[Path, typer.Option("--salt", help="The salt file of 'key salt'.")],
    commitment: Annotated[Path, typer.Option("--commitment", help="The commitment to the salt.")],
    timestamp: Annotated[Path, typer.Option("--timestamp", help="The commitment's time stamp.")],
    root: Annotated[Path, typer.Option("--root", help=ROOT_HELP)],
    rounds: Annotated[
        Path | None,
        typer.Option("--round", help="JSON file with the round, as a drand server sends it."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Get the round from this drand server (https).")
    ] = None,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Derive keys from a salt and the first round of drand's quicknet after the time stamp.

    Without --round and --url, the command prints which round that is. With --url, the round is
    saved beside the commitment.
    """
    from siren_ext.evidence.beacon import CHAINS, QUICKNET, fetch_round, plain_round, read_round
    from siren_ext.evidence.chain import ChainFiles, derive_keys
    from siren_ext.evidence.ledger import start_ledger

    refuse_existing(file)
    chain, files = CHAINS[QUICKNET], ChainFiles(commitment, timestamp, root)
    stamp = files.stamp()
    number = chain.first_after(stamp.latest) if stamp else 0
    if rounds is None and url is None:
        say(f"round {number}, due {chain.time_of(number):%Y-%m-%d %H:%M:%S} UTC: {chain.hash}")
        return
    if rounds is not None and url is not None:
        raise ConfigError("Give either --round or --url, not both.")
    found = read_round(rounds) if rounds else fetch_round(str(url), chain, number)
    secret = open_salt(salt, passphrase_env)
    ring, checked = derive_keys(secret, files, found, chain)
    ring.save(file, passphrase(str(file), passphrase_env, fresh=True))
    start_ledger(file)
    if rounds is None:
        kept = commitment.with_name(f"{commitment.name}.round.json")
        write_json(kept, plain_round(found))
        explain(f"Keep {kept.name} with the commitment.")
    _list_keys(ring)
    explain(checked)
    explain(_ADVICE)


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
    app.add_typer(
        group, name="key", help="Make and list key files: new, add, show, salt, derive, signing."
    )
    command(group, "new", example="siren-ext key new keys.json --recipient gallery")(new)
    command(group, "add", example="siren-ext key add keys.json --recipient printer")(add)
    command(group, "show", example="siren-ext key show keys.json")(show)
    command(group, "salt", example="siren-ext key salt salt.json")(salt)
    command(
        group,
        "derive",
        example="siren-ext key derive keys.json --salt salt.json --commitment commitment.json "
        "--timestamp commitment.json.tsr --root root.pem --url https://api.drand.sh",
    )(derive)
    command(group, "signing", example="siren-ext key signing signing.json")(signing)


def _list_keys(ring: KeyRing) -> None:
    for name, key in ring:
        say(f"{name or '(unnamed)'}: {key.bits} bits, fingerprint {key.fingerprint()}")
