"""``commit``: record hashes of coater, keys and coated files before release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from siren_ext.cli.common import command, explain, refuse_existing, say
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys, open_salt
from siren_ext.errors import ConfigError
from siren_ext.files import atomic
from siren_ext.text import printable

_PURPOSE = (
    "Record hashes of the coater, keys and coated files, to prove later that they came first."
)


def commit(
    coater: Annotated[
        Path, typer.Option("--coater", help="The coater whose images will be published.")
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; a new one.")],
    key: KeyFile = None,
    coated: Annotated[
        Path | None, typer.Option("--coated", help="Folder of the coated images.")
    ] = None,
    salt: Annotated[
        Path | None,
        typer.Option("--salt", help="Salt of 'key salt', from which keys will be derived."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="TOML file: prompts, count, seed and stopping of the test."),
    ] = None,
    twins: Annotated[
        Path | None,
        typer.Option("--twins", help="Private folder of 'coat --twins', to fix its coins."),
    ] = None,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Record hashes of the coater, keys and coated files, to prove later that they came first.

    'siren-ext commit stamp' has the file time-stamped.

    Publish or time-stamp the printed SHA-256 before you release any image; it reveals nothing. The
    file itself shows which images are coated, so keep it until you need it.
    """
    from siren_ext.coater.bundled import coater_path, public_warning
    from siren_ext.evidence.commitment import make_commitment
    from siren_ext.evidence.prompt_plan import read_plan
    from siren_ext.keys.single_bits import joint_hash, key_hashes

    refuse_existing(out)
    ring = open_keys(key, passphrase_env) if key else ()
    bits = {one.fingerprint(): joint_hash(key_hashes(one)) for _, one in ring}
    secret = open_salt(salt, passphrase_env) if salt else None
    planned = read_plan(plan) if plan else None
    coater = coater_path(coater)
    made = make_commitment(coater, bits, coated, salt=secret, plan=planned, bits=bits, twins=twins)
    digest = made.save(out)
    say(f"{made.created}: {_counts(made.count, made.files)}")
    if made.twins:
        say(f"SHA-256 of the twins' coins: {made.twins}")
    say(f"SHA-256 of {out.name}: {digest}")
    if not made.count and not made.twins:
        explain("Note: no --key was given, so the commitment covers no key.")
    if public := public_warning(made.coater):
        explain(f"Warning: {public}")
    if made.count > 1:
        explain(f"Note: with {made.count:,} keys, every p is multiplied by {made.count:,}.")
    explain("Publish or time-stamp this SHA-256 before the images, and keep the file unchanged.")


def stamp(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The commitment.")],
    roots: Annotated[
        Path, typer.Option("--root", help="PEM file: the authority's root certificate.")
    ],
    url: Annotated[
        str | None, typer.Option("--url", help="Ask this authority (https) for a time stamp.")
    ] = None,
    token: Annotated[
        Path | None,
        typer.Option("--token", help="Check this answer of an authority, which you have already."),
    ] = None,
) -> None:
    """Time-stamp a commitment by RFC 3161, or check a stamp that you have.

    Only the SHA-256 of the file is sent. The stamp is written beside the commitment, under its name
    with .tsr at the end, once it was checked against the root certificate.
    """
    from siren_ext.evidence.stamp import check_stamp, request_stamp

    if (url is None) == (token is None):
        raise ConfigError("Give either --url, to ask for a time stamp, or --token, to check one.")
    if token is not None:
        found = check_stamp(token, file, roots)
    else:
        place = file.with_name(f"{file.name}.tsr")
        refuse_existing(place)
        answer = request_stamp(str(url), file)
        with atomic(place) as temporary:
            temporary.write_bytes(answer)
            found = check_stamp(temporary, file, roots)
        explain(f"Keep {place.name} with the commitment.")
    say(f"{printable(file.name)} existed at {found.text}")
    explain(f"This rests on {found.root}. Whether certificates were revoked was not checked.")


class _CommitFirst(TyperGroup):
    """``siren-ext commit --coater ...`` means ``siren-ext commit new --coater ...``."""

    default = "new"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    group = typer.Typer(cls=_CommitFirst)
    app.add_typer(group, name="commit", help=_PURPOSE)
    command(
        group,
        "new",
        example="siren-ext commit --coater coater.safetensors --key keys.json --coated coated "
        "--out commitment.json",
    )(commit)
    command(
        group,
        "stamp",
        example="siren-ext commit stamp commitment.json --url https://tsa.example/tsr "
        "--root root.pem",
    )(stamp)


def _counts(keys: int, files: tuple[tuple[str, str], ...]) -> str:
    from siren_ext.verdict.wording import count_of

    parts = [count_of(keys, "key", "keys"), count_of(len(files), "file", "files")]
    return f"committed to a coater, {' and '.join(parts)}"
