"""``commit``: record hashes of coater, keys and coated files before release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, explain, refuse_existing, say
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys


def commit(
    coater: Annotated[
        Path, typer.Option("--coater", help="The coater whose images will be published.")
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; a new one.")],
    key: KeyFile = None,
    coated: Annotated[
        Path | None, typer.Option("--coated", help="Folder of the coated images.")
    ] = None,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Record hashes of the coater, keys and coated files, to prove later that they came first.

    Publish or time-stamp the printed SHA-256 before you release any image; it reveals nothing. The
    file itself shows which images are coated, so keep it until you need it.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.evidence.commitment import make_commitment

    refuse_existing(out)
    prints = [one.fingerprint() for _, one in open_keys(key, passphrase_env)] if key else []
    made = make_commitment(coater_path(coater), prints, coated)
    digest = made.save(out)
    say(f"{made.created}: {_counts(made.keys, made.files)}")
    say(f"SHA-256 of {out.name}: {digest}")
    if not prints:
        explain("Note: no --key was given, so the commitment covers no key.")
    explain("Publish or time-stamp this SHA-256 before the images, and keep the file unchanged.")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "commit",
        example="siren-ext commit --coater coater.safetensors --key keys.json --coated coated "
        "--out commitment.json",
    )(commit)


def _counts(keys: tuple[str, ...], files: tuple[tuple[str, str], ...]) -> str:
    from siren_ext.verdict.wording import count_of

    parts = [count_of(len(keys), "key", "keys"), count_of(len(files), "file", "files")]
    return f"committed to a coater, {' and '.join(parts)}"
