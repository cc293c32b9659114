"""``report check`` and ``report open``: check a report, or show some bits of its key."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.chains import chain_files
from siren_ext.cli.common import SKIPPED, command, explain, refuse_existing, say, watched
from siren_ext.cli.generate import Adapters
from siren_ext.cli.model_file import Controls, ModelFile, Others, Scale, require_options
from siren_ext.cli.options import Device, Quiet
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, Recipient, open_keys, open_salt
from siren_ext.cli.verify import (
    BeaconRound,
    CoatedFolder,
    CommitmentFile,
    Root,
    Salt,
    TimeStamp,
)
from siren_ext.errors import ConfigError
from siren_ext.files import sibling

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.evidence.beacon import Round
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.report.points import CheckPoint, ReportCheck
    from siren_ext.scoring.score_set import ScoreSet

ReportFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A report's folder, or a file in it.")
]
Signer = Annotated[
    str | None, typer.Option("--signer", help="Public key that must have signed the report.")
]
ScoredImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Folder of images to compare with the scored images; with --model: your originals.",
    ),
]
Features = Annotated[
    Path | None,
    typer.Option(
        "--suspect", help="With --key or --opening: the suspicious model's scores, with features."
    ),
]
MeasuredModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="BASE",
        help="With --key: measure the model's file again, as 'verify --model' did, and compare "
        "with --suspect.",
    ),
]
CheckedCoater = Annotated[
    Path | None,
    typer.Option(
        "--coater", help="With a measurement of a model, --model or --commitment: the coater file."
    ),
]
Ledger = Annotated[Path | None, typer.Option("--ledger", help="The ledger that counts the tests.")]
OpenedBits = Annotated[
    Path | None,
    typer.Option(
        "--opening", help="File of bits opened by 'report open', to test these bits alone."
    ),
]
OpeningStamp = Annotated[
    Path | None,
    typer.Option("--opening-timestamp", help="With --opening: the sealed file's time stamp."),
]
NamedRound = Annotated[
    int | None,
    typer.Option(
        "--named-round", min=1, max=10**10, help="With --opening: the round that you named."
    ),
]
TwinsFolder = Annotated[
    Path | None,
    typer.Option("--twins", help="Folder of the twins, or their record, to check the coins."),
]


def check(
    file: ReportFile,
    public: Signer = None,
    images: ScoredImages = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    suspect: Features = None,
    model: MeasuredModel = None,
    adapter: Adapters = None,
    control: Controls = None,
    other: Others = None,
    scale: Scale = 1.0,
    commitment: CommitmentFile = None,
    timestamp: TimeStamp = None,
    root: Root = None,
    rounds: BeaconRound = None,
    salt: Salt = None,
    coater: CheckedCoater = None,
    coated: CoatedFolder = None,
    ledger: Ledger = None,
    opening: OpenedBits = None,
    opening_timestamp: OpeningStamp = None,
    named_round: NamedRound = None,
    twins: TwinsFolder = None,
    passphrase_env: PassphraseEnv = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Recompute a report's figures, verdict and page; check its signature, commitment and ledger.

    Exits with code 2 if anything differs, and with code 3 if nothing differs but something could
    not be checked with what was given. Whether the scores really belong to the images can only be
    checked by scoring the images again.
    """
    from siren_ext.data.image_files import list_images
    from siren_ext.keys.signing import checked_public
    from siren_ext.report.chain_check import ChainEvidence
    from siren_ext.report.check import check_report
    from siren_ext.report.opening_check import OpeningEvidence
    from siren_ext.report.points import ReportCheck
    from siren_ext.scoring.score_set import ScoreSet

    if opening is None and not (opening_timestamp is None and named_round is None):
        raise ConfigError(
            "--opening-timestamp and --named-round need --opening; add it, or leave them out."
        )
    if (key is None) != (suspect is None) and (suspect is None or opening is None):
        raise ConfigError("The keyed test needs both --key and --suspect; give both.")
    again = {"--adapter": adapter, "--control": control, "--other": other}
    needed = {"--key": key, "--suspect": suspect, "--images": images, "--coater": coater}
    if model is None:
        require_options(again, {}, "without --model")
    else:
        require_options({}, needed, "with --model")
    scores = ScoreSet.load(suspect) if suspect else None
    of_model = model is not None or (scores is not None and scores.preference)
    committed = coater if commitment or not of_model else None
    loaded = _loaded(coater) if coater and of_model else None
    chain_root = None if commitment is None and opening is not None else root
    chain = chain_files(commitment, timestamp, chain_root, rounds, committed, coated, salt)
    opened = open_salt(salt, passphrase_env) if salt else None
    found = check_report(
        file,
        public=checked_public(public) if public else "",
        suspect=scores,
        key=open_keys(key, passphrase_env).key(recipient) if key else None,
        coater=loaded,
        # those of a model are checked where it is measured again
        images=list_images(images) if images and model is None else (),
        chain=ChainEvidence(chain, opened, ledger, twins),
        opening=OpeningEvidence(opening, named_round, opening_timestamp, root) if opening else None,
    )
    tested = any(point.name == "keyed statistic" for point in found.points)
    if key and opening is None and found.sound and not tested:
        explain("Note: this report has no keyed test, so the key and the scores were not used.")
    if scores and model and images and loaded:
        named = ModelFile(model, adapter or (), control or (), scale, False, device, other or ())
        point = _measured_again(scores, named, images, loaded, suspect, quiet)
        found = ReportCheck((*found.points, point))
    _print(found)


def _print(found: ReportCheck) -> None:
    """Print what was checked, and end with the exit code that it deserves."""
    from siren_ext.errors import EvidenceError

    for point in found.points:
        say(f"{point.name}: {point.state}. {point.text}")
    if not found.sound:
        wrong = ", ".join(point.name for point in found.points if point.state == "differs")
        raise EvidenceError(f"The report is not consistent ({wrong}); do not rely on it.")
    if found.unchecked:
        explain(f"Not checked: {', '.join(found.unchecked)}.")
        raise typer.Exit(SKIPPED)


def _loaded(coater: Path) -> Coater:
    """A coater from its file or the name of a bundled one."""
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater

    return Coater.load(coater_path(coater))


def _measured_again(
    scores: ScoreSet,
    model: ModelFile,
    images: Path,
    coater: Coater,
    kept: Path | None,
    quiet: bool,
) -> CheckPoint:
    """Measure a model's file again and compare with a measurement."""
    from siren_ext.data.dataset import ImageSet
    from siren_ext.workflows.preference_check import allows_partial, measured_again

    partial = None if kept is None else sibling(kept, ".check.partial")
    with watched(quiet) as progress:
        return measured_again(
            scores,
            replace(model, allow_partial=allows_partial(scores)).suspect(),
            ImageSet.open(images),
            coater,
            controls=model.clean(),
            others=model.strangers(),
            partial=partial,
            progress=progress,
        )


def open_(
    file: ReportFile,
    out: Annotated[Path, typer.Option("--out", help="JSON file to write; it must not exist yet.")],
    key: Annotated[Path, typer.Option("--key", help="The key file.")],
    suspect: Annotated[
        Path, typer.Option("--suspect", help="The scores from which the report was made.")
    ],
    recipient: Recipient = None,
    bits: Annotated[
        int | None,
        typer.Option("--bits", min=1, help="How many bits to open, at most half; default 24."),
    ] = None,
    commitment: Annotated[
        Path | None,
        typer.Option("--commitment", help="To seal the bits: the commitment to the key."),
    ] = None,
    sealed: Annotated[
        Path | None,
        typer.Option(
            "--sealed", help="To open bits: the sealed file. Without it, a sealed file is written."
        ),
    ] = None,
    timestamp: Annotated[
        Path | None, typer.Option("--timestamp", help="With --sealed: its time stamp.")
    ] = None,
    root: Root = None,
    named_round: Annotated[
        int | None,
        typer.Option(
            "--named-round",
            min=1,
            max=10**10,
            help="With --sealed: the round that the other side named.",
        ),
    ] = None,
    rounds: Annotated[
        Path | None, typer.Option("--round", help="With --sealed: file with the beacon's round.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="With --sealed: drand server to get it from.")
    ] = None,
    passphrase_env: PassphraseEnv = None,
) -> None:
    """Show a third party some bits of the key, chosen by a public random number, and no others.

    First run it without --sealed: the file that it writes fixes all bits and reveals none. Hand
    that file over or have it time-stamped. Then run it again with --sealed and a later round of the
    beacon, which chooses the bits.

    Opened bits can't be used as proof again: anybody who knows them can write them into pictures.
    """
    refuse_existing(out)
    if sealed is None:
        if commitment is None or (timestamp, root, named_round, rounds, url) != (None,) * 5:
            raise ConfigError(
                "Give --commitment to write a sealed file, or give a --sealed file to open "
                "its bits."
            )
        with_key = _Owner(file, key, recipient, suspect, passphrase_env)
        _seal(with_key, commitment, bits, out)
        return
    if (rounds is None) == (url is None) or (bits, commitment) != (None, None):
        raise ConfigError(
            "With --sealed, give either --round or --url, and neither --bits nor --commitment."
        )
    number = _number(sealed, timestamp, root, named_round)
    if url is not None and number is None:
        raise ConfigError(
            "--timestamp or --named-round is needed, because it decides which round to get; "
            "give one of them."
        )
    found = _round(rounds, url, number)
    _open(_Owner(file, key, recipient, suspect, passphrase_env), sealed, found, number, out)


@dataclass(frozen=True)
class _Owner:
    """What only the owner has, still closed, and the report."""

    report: Path
    key: Path
    recipient: str | None
    suspect: Path
    variable: str | None

    def opened(self) -> tuple[Path, CoatingKey, ScoreSet]:
        """The report's folder, the key and the scores with features."""
        from siren_ext.scoring.score_set import ScoreSet

        folder = self.report if self.report.is_dir() else self.report.parent
        scores = ScoreSet.load(self.suspect)
        return folder, open_keys(self.key, self.variable).key(self.recipient), scores


def _seal(owner: _Owner, commitment: Path, bits: int | None, out: Path) -> None:
    from siren_ext.report.opening import BITS, save_sealed, seal_bits

    made = seal_bits(*owner.opened(), commitment, bits or BITS)
    say(f"SHA-256 of {out.name}: {save_sealed(made, out)}")
    explain(
        "Hand this file over and let the other side name a future round of drand's quicknet, or "
        "have the file time-stamped. Then open its bits with --sealed."
    )


def _number(
    sealed: Path, timestamp: Path | None, root: Path | None, named: int | None
) -> int | None:
    """The round that a time stamp decides, or that somebody named."""
    from siren_ext.evidence.beacon import CHAINS, QUICKNET
    from siren_ext.evidence.stamp import check_stamp

    if timestamp is None:
        return named
    if root is None or named is not None:
        raise ConfigError(
            "--timestamp needs --root. The time stamp decides the round, so leave out "
            "--named-round."
        )
    return CHAINS[QUICKNET].first_after(check_stamp(timestamp, sealed, root).latest)


def _round(file: Path | None, url: str | None, number: int | None) -> Round:
    from siren_ext.evidence.beacon import CHAINS, QUICKNET, fetch_round, read_round

    if file is not None:
        return read_round(file)
    return fetch_round(str(url), CHAINS[QUICKNET], int(number or 0))


def _open(owner: _Owner, sealed: Path, found: Round, number: int | None, out: Path) -> None:
    from siren_ext.report.opening import open_bits, read_sealed, save_opening

    text = read_sealed(sealed)
    folder, key, scores = owner.opened()
    shown = open_bits(folder, key, scores, text, found, number)
    save_opening(shown, out)
    say(f"{len(shown.opened)} of {key.bits} bits opened by round {found.round:,}: {out}")
    explain("Anybody who has this file can write the opened bits into pictures.")


def register(app: typer.Typer) -> None:
    """Add the group of commands.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    group = typer.Typer(no_args_is_help=True)
    app.add_typer(group, name="report", help="Check a report, or show some bits of its key.")
    command(group, "check", example="siren-ext report check report/report.json")(check)
    command(
        group,
        "open",
        example="siren-ext report open report --key keys.json --suspect suspect.json "
        "--commitment commitment.json --out sealed.json",
    )(open_)
