"""``report check``: check somebody's report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import SKIPPED, command, explain, say
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, Recipient, open_keys, open_salt
from siren_ext.cli.verify import (
    BeaconRound,
    CoatedFolder,
    CommitmentFile,
    CommittedCoater,
    Root,
    Salt,
    TimeStamp,
    chain_files,
)
from siren_ext.errors import ConfigError

ReportFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A report's folder, or a file in it.")
]


def check(
    file: ReportFile,
    public: Annotated[
        str | None, typer.Option("--signer", help="Public key that must have signed the report.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of images to compare with the scored ones."),
    ] = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    suspect: Annotated[
        Path | None,
        typer.Option("--suspect", help="With --key: the suspicious model's scores with features."),
    ] = None,
    commitment: CommitmentFile = None,
    timestamp: TimeStamp = None,
    root: Root = None,
    rounds: BeaconRound = None,
    salt: Salt = None,
    coater: CommittedCoater = None,
    coated: CoatedFolder = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="The key file's ledger, to count its tests.")
    ] = None,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Recompute a report's figures, verdict and page, and check signature, commitment and ledger.

    Exits with code 2 if anything differs, and with code 3 if nothing differs but something could
    not be checked with what was given. Whether the scores are those of the images can only be
    checked by scoring the images again.
    """
    from siren_ext.data.image_files import list_images
    from siren_ext.errors import EvidenceError
    from siren_ext.keys.signing import checked_public
    from siren_ext.report.chain_check import ChainEvidence
    from siren_ext.report.check import check_report
    from siren_ext.scoring.score_set import ScoreSet

    if (key is None) != (suspect is None):
        raise ConfigError("The keyed test needs both --key and --suspect; give both.")
    chain = chain_files(commitment, timestamp, root, rounds, coater, coated, salt)
    opened = open_salt(salt, passphrase_env) if salt else None
    found = check_report(
        file,
        public=checked_public(public) if public else "",
        suspect=ScoreSet.load(suspect) if suspect else None,
        key=open_keys(key, passphrase_env).key(recipient) if key else None,
        images=list_images(images) if images else (),
        chain=ChainEvidence(chain, opened, ledger),
    )
    for point in found.points:
        say(f"{point.name}: {point.state}. {point.text}")
    if not found.sound:
        wrong = ", ".join(point.name for point in found.points if point.state == "differs")
        raise EvidenceError(f"The report is not consistent ({wrong}); do not rely on it.")
    if found.unchecked:
        explain(f"Not checked: {', '.join(found.unchecked)}.")
        raise typer.Exit(SKIPPED)


def register(app: typer.Typer) -> None:
    """Add the group of commands.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="report", help="Check somebody's report: report check.")
    command(group, "check", example="siren-ext report check report/report.json")(check)

    @group.callback()
    def _options() -> None:
        """Keep 'check' a command; a group of one would become that command."""
