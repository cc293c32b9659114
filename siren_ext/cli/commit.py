"""``commit``: record hashes of coater, keys and coated files before release."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from siren_ext.cli.common import SKIPPED, command, explain, refuse_existing, say
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys, open_salt
from siren_ext.errors import ConfigError, EvidenceError
from siren_ext.files import atomic
from siren_ext.text import printable

_PURPOSE = (
    "Record hashes of the coater, keys and coated files, to prove later that they came first."
)


def commit(
    coater: Annotated[
        Path, typer.Option("--coater", help="The coater whose images will be published.")
    ],
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; it must not exist yet.")],
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
        typer.Option(
            "--plan", help="TOML file with the prompts, count, seed and stopping rule of the test."
        ),
    ] = None,
    twins: Annotated[
        Path | None,
        typer.Option(
            "--twins", help="Private folder of 'coat --twins', to record its coin tosses."
        ),
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
    from siren_ext.evidence.ledger import ledger_of, start_ledger
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
    counts = "twins" if twins is not None else "coater" if not ring and secret is None else ""
    if counts:
        start_ledger(out)  # of the tests of the twins, or of the coater's ranks among decoys
    say(f"{made.created}: {_counts(made.count, made.files)}")
    if made.twins:
        say(f"SHA-256 of the twins' coins: {made.twins}")
    say(f"SHA-256 of {out.name}: {digest}")
    if coated is not None:
        _note_unrecorded(coated, {name for name, _ in made.files})
    if not made.count and not made.twins:
        explain("Note: no --key was given, so the commitment does not cover a key.")
    if counts:
        explain(f"Keep {ledger_of(out).name} beside it: it counts the tests of the {counts}.")
    if public := public_warning(made.coater):
        explain(f"Warning: {public}")
    if made.count > 1:
        explain(f"Note: with {made.count:,} keys, every p is multiplied by {made.count:,}.")
    explain(
        "Publish or time-stamp this SHA-256 before you publish the images, and keep the file "
        "unchanged."
    )


def _note_unrecorded(folder: Path, files: set[str]) -> None:
    """Tell which images are not part of the commitment."""
    from siren_ext.data.survey import examples
    from siren_ext.evidence.coated_files import unrecorded

    if left := unrecorded(folder, files):
        explain(
            f"Note: {len(left)} image{'s' if len(left) > 1 else ''} in {folder} ({examples(left)}) "
            "are not in the record that 'coat' wrote there, so they are not part of the "
            "commitment. Commit before you edit or rename coated images."
        )


def stamp(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The commitment.")],
    roots: Annotated[
        Path | None,
        typer.Option("--root", help="With --url, --token: the authority's certificate (PEM)."),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="Ask this authority (https) for a time stamp.")
    ] = None,
    token: Annotated[
        Path | None,
        typer.Option("--token", help="Check this answer of an authority, if you already have one."),
    ] = None,
    calendar: Annotated[
        str | None,
        typer.Option(
            "--calendar",
            help="Ask this OpenTimestamps calendar (https) instead; run the command again "
            "later to complete the proof.",
        ),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option("--proof", help="Check this proof of OpenTimestamps.")
    ] = None,
    header: Annotated[
        str | None,
        typer.Option(
            "--header",
            help="Header of the proof's block: a file or an address (https), 80 bytes or 160 "
            "hexadecimal digits.",
        ),
    ] = None,
) -> None:
    """Time-stamp a commitment (RFC 3161 or OpenTimestamps), or check a stamp that you have.

    Only a hash of the file is sent. The stamp is checked against the root certificate and written
    beside the commitment, under the commitment's name with .tsr at the end. An OpenTimestamps proof
    has .ots at the end and takes some hours to complete. With OpenTimestamps the exit code is 3
    even if all is well, because a header does not show that its block belongs to Bitcoin's chain.
    """
    if sum(one is not None for one in (url, token, calendar, proof)) != 1:
        raise ConfigError(
            "Give either --url, to ask for a time stamp, or --token, to check one. For "
            "OpenTimestamps give --calendar or --proof."
        )
    if calendar is not None or proof is not None:
        if roots is not None or (header is not None and proof is None):
            raise ConfigError(
                "--root is only for --url and --token, and --header only for --proof; leave out "
                "the one that does not belong."
            )
        _calendar_proof(file, calendar, proof, header)
    elif roots is None or header is not None:
        raise ConfigError("--url and --token need --root, and --header is for --proof.")
    else:
        _authority_stamp(file, roots, url, token)


def _authority_stamp(file: Path, roots: Path, url: str | None, token: Path | None) -> None:
    from siren_ext.evidence.stamp import check_stamp, request_stamp

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
    explain(f"This relies on {found.root}. Whether certificates were revoked was not checked.")


def _calendar_proof(
    file: Path, calendar: str | None, proof: Path | None, header: str | None
) -> None:
    """Ask for a proof, complete it, or check it; exit code 3, as the block's place stays open."""
    from siren_ext.evidence.ots import (
        PLACE,
        check_proof,
        complete_proof,
        read_proof,
        request_proof,
    )

    place = proof or file.with_name(f"{file.name}.ots")
    if calendar is None:
        found = read_proof(place, file)
    elif place.exists():
        found = complete_proof(read_proof(place, file))
    else:
        found = request_proof(calendar, file)
    if calendar is not None:
        with atomic(place) as temporary:
            temporary.write_bytes(found.data)
        explain(f"Keep {place.name} with the commitment.")
    if not found.blocks:
        say(f"{place.name} is pending at {', '.join(found.calendars)}")
        explain("Run the command with --calendar again in a few hours to complete it.")
        raise typer.Exit(SKIPPED)
    heights = " and ".join(f"{one.height:,}" for one in found.blocks)
    if header is None:
        say(f"{place.name} is complete: it leads to Bitcoin block {heights}. Not verified")
        explain("To verify it, give --proof, and the block's header with --header.")
        raise typer.Exit(SKIPPED)
    block, known, latest = check_proof(found, _header_of(header))
    say(f"{printable(file.name)} existed at {known.time:%Y-%m-%d %H:%M:%S UTC}")
    explain(
        f"This relies on the header of block {block.height:,} with hash {known.hash}. The block "
        f"was made by {latest:%Y-%m-%d %H:%M} UTC at the latest. Its work was checked. Not "
        f"checked: {PLACE}."
    )
    raise typer.Exit(SKIPPED)


def _header_of(where: str) -> bytes:
    """The header in a file, or at an address of the user's choice."""
    from siren_ext.documents import read_bytes
    from siren_ext.evidence.ots import MAX_HEADER
    from siren_ext.evidence.web import get_safely

    if where.startswith(("http://", "https://")):
        return get_safely(where, limit=MAX_HEADER, timeout=60.0)
    return read_bytes(where, error=EvidenceError, max_bytes=MAX_HEADER)


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
