"""``verify``: test whether a model was trained on the coated images, and write a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, explain, say, settings
from siren_ext.cli.options import Assignments, ConfigFile, ReportFolder, SuspectScores
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import (
    KeyFile,
    PassphraseEnv,
    Recipient,
    open_key,
    open_salt,
    open_signer,
)
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.evidence.chain import ChainFiles
    from siren_ext.evidence.precedence import Precedence
    from siren_ext.keys.derived import KeySalt
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.verify import Verdict

References = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference",
        help="Scores of a model trained on clean images; may be repeated. Three or more such "
        "models are also compared as models.",
    ),
]
Innocents = Annotated[
    list[Path] | None,
    typer.Option("--innocent", help="Scores of an innocent model; may be repeated."),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="Accepted risk of a false alarm, default 1e-6. With a key: share of random keys that "
        "may fit as well. With innocent models: risk that another one of their kind is accused. "
        "With a reference: risk that a model that does not differ from it counts as lower.",
    ),
]
Mimicries = Annotated[
    Path | None,
    typer.Option("--mimicries", help="Suspicious model's images, to show in the report."),
]
ReferenceMimicries = Annotated[
    Path | None,
    typer.Option("--reference-mimicries", help="Reference's images, to show in the report."),
]
CommitmentFile = Annotated[
    Path | None,
    typer.Option("--commitment", help="Check against a commitment made before release."),
]
CommittedCoater = Annotated[
    Path | None, typer.Option("--coater", help="With --commitment: the coater file.")
]
CoatedFolder = Annotated[
    Path | None, typer.Option("--coated", help="With --commitment: folder of the coated images.")
]
TimeStamp = Annotated[
    Path | None, typer.Option("--timestamp", help="With --commitment: its time stamp.")
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="With --timestamp: PEM file, the authority's certificate."),
]
BeaconRound = Annotated[
    Path | None, typer.Option("--round", help="With --salt: the round that the key came from.")
]
Salt = Annotated[
    Path | None,
    typer.Option("--salt", help="With --commitment: the salt of a derived key, to derive it."),
]
SigningKey = Annotated[
    Path | None,
    typer.Option("--sign", help="Sign the report with this key of 'siren-ext key signing'."),
]
SignPassphraseEnv = Annotated[
    str | None,
    typer.Option(
        "--sign-passphrase-env",
        metavar="NAME",
        help="Environment variable with the passphrase of --sign; defaults to --passphrase-env.",
    ),
]


def verify_(
    suspect: SuspectScores,
    out: ReportFolder,
    reference: References = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    innocent: Innocents = None,
    commitment: CommitmentFile = None,
    coated: CoatedFolder = None,
    coater: CommittedCoater = None,
    timestamp: TimeStamp = None,
    root: Root = None,
    rounds: BeaconRound = None,
    salt: Salt = None,
    alpha: Alpha = None,
    mimicries: Mimicries = None,
    reference_mimicries: ReferenceMimicries = None,
    sign: SigningKey = None,
    passphrase_env: PassphraseEnv = None,
    sign_passphrase_env: SignPassphraseEnv = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
) -> None:
    """Test whether the suspicious model was trained on the coated images; write a report.

    Give a --key, a --reference, several --innocent models, or all of them, or scores made with
    'siren-ext score --decoys'. All tests that they allow are run, and the strictest one decides,
    even if it is inconclusive. The exit code is 0 for every verdict; read the verdict from the
    report or its JSON file.
    """
    from siren_ext.evidence.counting import counted
    from siren_ext.report.write import write_report
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.models import joined_models
    from siren_ext.verdict.verify import verify

    chosen = settings(VerifyConfig, config, assign, alpha=alpha)
    chain = chain_files(commitment, timestamp, root, rounds, coater, coated, salt)
    check_output(out, "report", force=force)
    suspect_scores = ScoreSet.load(suspect)
    clean_scores = joined_models([ScoreSet.load(path) for path in reference or ()])
    innocents = [ScoreSet.load(path) for path in innocent or ()]
    secret = open_key(key, recipient, passphrase_env) if key else None
    found = None
    if chain is not None:
        prints = [secret.fingerprint()] if secret else []
        opened = open_salt(salt, passphrase_env) if salt else None
        found = chain_found(chain, suspect_scores, prints, opened)
    signer = open_signer(sign, sign_passphrase_env or passphrase_env) if sign else None
    found, price = counted(secret, suspect_scores, found)
    if secret is not None:
        chosen = replace(chosen, price=price)
    verdict = verify(
        suspect_scores,
        clean_scores,
        chosen,
        key=secret,
        innocents=innocents,
        precedence=found,
    )
    paths = write_report(
        verdict,
        suspect_scores,
        clean_scores,
        out,
        mimicries=_pictures(mimicries),
        reference_mimicries=_pictures(reference_mimicries),
        innocents=innocents,
        signer=signer,
    )
    print_verdict(verdict)
    if signer is not None:
        explain(f"Signed by {signer.public}")
    say(str(paths.html))


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "verify",
        example="siren-ext verify --suspect scores.json --key keys.json --out report",
    )(verify_)


def print_verdict(verdict: Verdict) -> None:
    """Print a verdict and its findings on stdout, its warnings on stderr.

    Parameters
    ----------
    verdict : Verdict
        of :func:`~siren_ext.verdict.verify.verify`.
    """
    from siren_ext.stats.coins import CoinsResult
    from siren_ext.stats.keyed import KeyedResult
    from siren_ext.stats.ks import KsResult
    from siren_ext.stats.prediction import PredictionResult
    from siren_ext.verdict import models_words
    from siren_ext.verdict.decoys_words import printed
    from siren_ext.verdict.twins import used_share
    from siren_ext.verdict.wording import NAMES

    say(f"{verdict.outcome}: {verdict.headline}")
    for finding in verdict.findings:
        one, figures = finding.result, f"p = {finding.p_value:.3g}"
        if isinstance(one, KsResult):
            figures += f", n = {one.n}, m = {one.m}, D = {one.statistic:.3f}"
            if finding.by_message is not None:
                figures += f"; by the distance to the message's centre: p <= {finding.by_message:g}"
        elif isinstance(one, CoinsResult):
            figures += f", n = {one.images}, {one.right} published copies preferred. "
            figures += used_share(one)
        elif isinstance(one, KeyedResult):
            figures += f", n = {one.images}, {one.bits_right} of {one.bits} bits right"
            if finding.control is not None:
                figures += f"; positive control: p = {finding.control.result.p_value:.3g}"
        elif isinstance(one, PredictionResult):
            figures += f", n = {finding.suspects}, {models_words.printed(one)}"
        elif finding.test == "decoys":
            figures += f", n = {finding.suspects}, {printed(one)}"
        else:
            figures += f", {one.at_least} of {one.others} innocent models score as low"
        several = len(verdict.findings) > 1 or finding.test != "ks"
        say(f"{NAMES[finding.test]}: {finding.outcome}, {figures}" if several else figures)
    explain(verdict.precedence.text)
    if verdict.precedence.left_open:
        explain(verdict.precedence.left_open)
    for warning in verdict.warnings:
        if warning != verdict.precedence.text:
            explain(f"Note: {warning}")


def _pictures(folder: Path | None) -> list[Path]:
    """The images that the report shows."""
    from siren_ext.data.image_files import list_images

    if folder is None:
        return []
    if not (images := list_images(folder)):
        raise ConfigError(f"{folder} holds no images to show; give a folder of images.")
    return images


def chain_found(
    chain: ChainFiles, scores: ScoreSet, keys: Sequence[str], salt: KeySalt | None
) -> Precedence:
    """What the files of a chain say about the tested pictures and keys.

    Parameters
    ----------
    chain : ChainFiles
        the files.
    scores : ScoreSet
        of the suspect.
    keys : Sequence[str]
        fingerprints of the tested keys.
    salt : KeySalt | None
        of derived keys, to derive them again.

    Returns
    -------
    Precedence
        see :func:`siren_ext.evidence.chain.check_chain`.

    Raises
    ------
    EvidenceError
        a file can't be read, or the time stamp is not valid.
    """
    from siren_ext.evidence.chain import check_chain

    return check_chain(
        chain,
        coater=scores.coater,
        keys=keys,
        salt=salt,
        source=scores.source,
        images=len(scores) + len(scores.failures),
        hashes=scores.hashes,
    )


def chain_files(
    commitment: Path | None,
    timestamp: Path | None,
    root: Path | None,
    rounds: Path | None,
    coater: Path | None,
    coated: Path | None,
    salt: Path | None,
) -> ChainFiles | None:
    """The files of a chain from options; None without a commitment.

    Parameters
    ----------
    commitment, timestamp, root, rounds, coater, coated, salt
        the options of the same names.

    Returns
    -------
    ChainFiles | None
        for :func:`siren_ext.evidence.chain.check_chain`.

    Raises
    ------
    ConfigError
        something was given that only makes sense with a commitment.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.evidence.chain import ChainFiles

    if commitment is None:
        options = {"--coated": coated, "--coater": coater, "--timestamp": timestamp}
        options |= {"--root": root, "--round": rounds, "--salt": salt}
        if given := [name for name, value in options.items() if value is not None]:
            verb = "is" if len(given) == 1 else "are"
            raise ConfigError(
                f"{' and '.join(given)} {verb} compared with a --commitment; give one."
            )
        return None
    file = coater_path(coater) if coater else None
    return ChainFiles(commitment, timestamp, root, rounds, file, coated)
