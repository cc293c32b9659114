"""``verify``: test whether a model was trained on the coated images, and write a report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.chains import chain_files
from siren_ext.cli.common import command, explain, gather, report_skipped, say
from siren_ext.cli.generate import Adapters
from siren_ext.cli.judging import Judged, ModelTest, ScoreFiles, Terms, check_measurement
from siren_ext.cli.model_file import Controls, ModelFile, Others, Scale, require_options
from siren_ext.cli.options import (
    ROOT_HELP,
    AllowPartial,
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    ReportFolder,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import (
    KeyFile,
    PassphraseEnv,
    Recipient,
    open_key,
    open_salt,
    open_signer,
)

if TYPE_CHECKING:
    from siren_ext.evidence.chain import ChainFiles
    from siren_ext.evidence.precedence import Precedence
    from siren_ext.keys.coating_key import CoatingKey
    from siren_ext.keys.derived import KeySalt
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.verdict.verify import Verdict

Suspect = Annotated[
    Path | None,
    typer.Option(
        "--suspect",
        help="Scores of the suspicious model's images, or a measurement of its file by "
        "'siren-ext preference' or 'twins'.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="BASE",
        help="Instead of --suspect, test the model's file: pocket (bundled), a diffusers folder "
        "or a checkpoint. With --adapter, this is its base model.",
    ),
]
Originals = Annotated[
    Path | None,
    typer.Option(
        "--images", help="With --model: folder of your originals, kohya folder or dataset.toml."
    ),
]
ShowTint = Annotated[
    bool,
    typer.Option(
        "--show-tint",
        help="With --model or a measurement: show what the model adds to images, and what the "
        "coating adds. Anybody who has the report and the coater can then work out the "
        "message.",
    ),
]
VerifiedCoater = Annotated[
    Path | None,
    typer.Option(
        "--coater",
        help="With --model, a measurement of a model or --commitment: the coater file. For a "
        "measurement it is needed unless it is a bundled one.",
    ),
]
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
        "may fit equally well. With innocent models: risk that another model of their kind "
        "is accused. With a reference: risk that a model that is no different from it is "
        "found lower.",
    ),
]
Mimicries = Annotated[
    Path | None,
    typer.Option(
        "--mimicries", help="Folder of the suspicious model's images, to show in the report."
    ),
]
ReferenceMimicries = Annotated[
    Path | None,
    typer.Option(
        "--reference-mimicries", help="Folder of the reference's images, to show in the report."
    ),
]
CommitmentFile = Annotated[
    Path | None,
    typer.Option("--commitment", help="Check against a commitment made before release."),
]
CoatedFolder = Annotated[
    Path | None, typer.Option("--coated", help="With --commitment: folder of the coated images.")
]
TimeStamp = Annotated[
    Path | None, typer.Option("--timestamp", help="With --commitment: its time stamp.")
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help=f"With --timestamp: {ROOT_HELP[0].lower()}{ROOT_HELP[1:]}"),
]
BeaconRound = Annotated[
    Path | None,
    typer.Option("--round", help="With --salt: file with the round that the key was derived with."),
]
Salt = Annotated[
    Path | None,
    typer.Option(
        "--salt", help="With --commitment: the salt of a derived key, to derive the key again."
    ),
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
    out: ReportFolder,
    suspect: Suspect = None,
    reference: References = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    innocent: Innocents = None,
    model: Model = None,
    adapter: Adapters = None,
    images: Originals = None,
    control: Controls = None,
    other: Others = None,
    scale: Scale = 1.0,
    allow_partial: AllowPartial = False,
    show_tint: ShowTint = False,
    commitment: CommitmentFile = None,
    coated: CoatedFolder = None,
    coater: VerifiedCoater = None,
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
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Test whether a suspicious model was trained on the coated images; write a report.

    Give a --key, a --reference, several --innocent models, or all of them, or scores made with
    'siren-ext score --decoys'. Every test that these allow is run, and the strictest one decides,
    even if it is inconclusive. If you have the model's file, give --model, --images, --coater and
    --key in place of scores; run the same command again to resume a stopped one. The exit code is 0
    for every verdict; read the verdict from the report or its JSON file.
    """
    chosen, plan = _settings(config, assign, alpha)
    options: dict[str, object]
    if model is None:
        options = {"--adapter": adapter, "--images": images, "--control": control}
        options |= {"--other": other, "--scale": scale != 1, "--allow-partial": allow_partial}
        of_plan = [one for one in assign or () if one.startswith("preference.")]
        options["--set preference"] = of_plan
        require_options(options, {"--suspect": suspect}, "without --model")
    else:
        options = {"--suspect": suspect, "--reference": reference, "--innocent": innocent}
        options |= {"--mimicries": mimicries, "--reference-mimicries": reference_mimicries}
        needed = {"--images": images, "--coater": coater, "--key": key}
        require_options(options, needed, "with --model")
    check_output(out, "report", force=force)
    tested: ScoreFiles | ModelTest
    if suspect is not None:
        tested = ScoreFiles(suspect, reference, innocent, mimicries, reference_mimicries)
    else:
        models = (adapter or (), control or (), scale, allow_partial, device, other or ())
        tested = ModelTest(ModelFile(model or "", *models), images or Path(), plan, quiet)
        check_measurement(out, force)
    alone = commitment is None and tested.measured
    committed = None if alone else coater
    chain = chain_files(commitment, timestamp, root, rounds, committed, coated, salt)
    if chain is not None and model is not None:
        chain.read()
    secret = open_key(key, recipient, passphrase_env) if key else None
    standing = _standing(chain, secret, open_salt(salt, passphrase_env) if salt else None)
    signer = open_signer(sign, sign_passphrase_env or passphrase_env) if sign else None
    terms = Terms(out, chosen, secret, standing, signer, commitment, coater, show_tint)
    _print(tested.judge(terms), terms)


def _settings(
    config: Path | None, assign: list[str] | None, alpha: float | None
) -> tuple[VerifyConfig, PreferenceConfig]:
    """How strict the verdict is, and how a model's file is measured."""
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.verdict.config import VerifyConfig

    values = gather(
        VerifyConfig, config, assign, groups={"preference": PreferenceConfig}, alpha=alpha
    )
    plan = PreferenceConfig.from_dict(values.pop("preference"))
    return VerifyConfig.from_dict(values), plan


def _standing(
    chain: ChainFiles | None, key: CoatingKey | None, salt: KeySalt | None
) -> Callable[[ScoreSet], Precedence | None]:
    """What the files of a chain say about scores, None without a chain."""
    if chain is None:
        return lambda _: None
    from siren_ext.evidence.chain import check_scores

    prints = [key.fingerprint()] if key else []
    return lambda scores: check_scores(chain, scores, prints, salt)


def _print(found: Judged, terms: Terms) -> None:
    """Print a verdict and the places of its files."""
    print_verdict(found.verdict)
    if terms.signer is not None:
        explain(f"Signed by {terms.signer.public}")
    if found.alike is not None:
        one = found.alike
        say(
            f"learnt tint: correlation {one.correlation:.2f} with the expected one, {one.at_least} "
            f"of {one.others} random messages as well; decides nothing"
        )
    if found.measurement is not None:
        explain(
            f"The measurement was saved as {found.measurement}. It can reveal the message: keep "
            "it as secret as the key."
        )
    say(str(found.page))
    report_skipped(found.problems, "image")


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
        example="siren-ext verify --model sd15.safetensors --adapter suspect.safetensors "
        "--images photos --coater coater.safetensors --key keys.json --out report",
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
            if finding.whole is not None:
                figures += f"; bits alone, not corrected: p = {one.p_value:.3g}"
                if finding.whole.base_p is not None:
                    figures += f"; base model in its place: p = {finding.whole.base_p:.3g}"
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
