"""``verify``: test whether a model was trained on the coated images, and write a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, explain, say, settings
from siren_ext.cli.options import Assignments, ConfigFile, ReportFolder, SuspectScores
from siren_ext.cli.passphrase import (
    KeyFile,
    PassphraseEnv,
    Recipient,
    open_keys,
    open_signer,
)
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.evidence.commitment import Precedence
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.verdict.verify import Verdict

Innocents = Annotated[
    list[Path] | None,
    typer.Option("--innocent", help="Scores of an innocent model; may be repeated."),
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
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Scores of a model trained on clean images.")
    ] = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    innocent: Innocents = None,
    commitment: CommitmentFile = None,
    coated: CoatedFolder = None,
    coater: CommittedCoater = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Accepted risk of accusing an innocent model; default 1e-6."),
    ] = None,
    mimicries: Annotated[
        Path | None,
        typer.Option("--mimicries", help="Suspicious model's images, to show in the report."),
    ] = None,
    reference_mimicries: Annotated[
        Path | None,
        typer.Option("--reference-mimicries", help="Reference's images, to show in the report."),
    ] = None,
    sign: SigningKey = None,
    passphrase_env: PassphraseEnv = None,
    sign_passphrase_env: SignPassphraseEnv = None,
    config: ConfigFile = None,
    assign: Assignments = None,
) -> None:
    """Test whether the suspicious model was trained on the coated images; write a report.

    Give a --key, a --reference, several --innocent models, or all of them. All tests that they
    allow are run, and the strictest one that can reach the accepted risk decides. The exit code is
    0 for every verdict; read the verdict from the report or its JSON file.
    """
    from siren_ext.report.write import write_report
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.verify import verify

    chosen = settings(VerifyConfig, config, assign, alpha=alpha)
    if commitment is None and (coated is not None or coater is not None):
        raise ConfigError("--coated and --coater are compared with a --commitment; give one.")
    suspect_scores = ScoreSet.load(suspect)
    clean_scores = ScoreSet.load(reference) if reference else None
    innocents = [ScoreSet.load(path) for path in innocent or ()]
    secret = open_keys(key, passphrase_env).key(recipient) if key else None
    signer = open_signer(sign, sign_passphrase_env or passphrase_env) if sign else None
    verdict = verify(
        suspect_scores,
        clean_scores,
        chosen,
        key=secret,
        innocents=innocents,
        precedence=_precedence(commitment, suspect_scores.coater, secret, coater, coated),
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
        example="siren-ext verify --suspect scores.json --reference clean.json --out report",
    )(verify_)


def print_verdict(verdict: Verdict) -> None:
    """Print a verdict and its findings on stdout, its warnings on stderr.

    Parameters
    ----------
    verdict : Verdict
        of :func:`~siren_ext.verdict.verify.verify`.
    """
    from siren_ext.stats.keyed import KeyedResult
    from siren_ext.stats.ks import KsResult
    from siren_ext.verdict.wording import NAMES

    say(f"{verdict.outcome}: {verdict.headline}")
    for finding in verdict.findings:
        one, figures = finding.result, f"p = {finding.p_value:.3g}"
        if isinstance(one, KsResult):
            figures += f", n = {one.n}, m = {one.m}, D = {one.statistic:.3f}"
        elif isinstance(one, KeyedResult):
            figures += f", n = {one.images}, {one.bits_right} of {one.bits} bits right"
        else:
            figures += f", {one.at_least} of {one.others} innocent models score as low"
        several = len(verdict.findings) > 1 or finding.test != "ks"
        say(f"{NAMES[finding.test]}: {finding.outcome}, {figures}" if several else figures)
    explain(verdict.precedence.text)
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


def _precedence(
    commitment: Path | None,
    coater: str,
    key: CoatingKey | None,
    coater_file: Path | None,
    coated: Path | None,
) -> Precedence | None:
    """What a commitment says about the coater, key and files in use; None without one."""
    from siren_ext.coater.bundled import coater_path
    from siren_ext.evidence.commitment import check_commitment

    if commitment is None:
        return None
    return check_commitment(
        commitment,
        coater=coater,
        keys=[key.fingerprint()] if key else (),
        coater_file=coater_path(coater_file) if coater_file else None,
        coated=coated,
    )
