"""``passive``: was a model trained on images that were published without a coating?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from siren_ext.cli.common import (
    command,
    explain,
    gather,
    report_notices,
    report_skipped,
    say,
    split_assignment,
    watched,
)
from siren_ext.cli.generate import Adapters
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    ReportFolder,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import PassphraseEnv, open_signer
from siren_ext.cli.suspects import (
    SUSPECT_HELP,
    LimitOptions,
    TokenVariables,
    TrustedHosts,
    check_base,
    limits,
    trust,
)
from siren_ext.cli.verify import SigningKey
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.passive.config import CompletionConfig, LikenessConfig, PassiveConfig
    from siren_ext.passive.judge import PassiveVerdict
    from siren_ext.passive.judge_config import JudgeConfig
    from siren_ext.suspects.base import Suspect
    from siren_ext.suspects.local import LocalSuspect
    from siren_ext.suspects.remote import RequestLimits
    from siren_ext.suspects.trust import Trust

CleanModel = Annotated[
    str | None,
    typer.Option(
        "--control",
        metavar="MODEL",
        help="Model that can't have seen the published images: an older model, or a LoRA of other "
        "images. With --adapter it is the base by default.",
    ),
]
Published = Annotated[
    Path, typer.Option("--published", help="P: folder of published images that were not coated.")
]
Unpublished = Annotated[
    Path,
    typer.Option(
        "--unpublished", help="U: folder of images of the same kind that nobody else has seen."
    ),
]
Risk = Annotated[
    float | None,
    typer.Option("--alpha", help="Accepted risk of accusing an innocent model; default 0.001."),
]
KeyedReport = Annotated[
    Path | None,
    typer.Option(
        "--keyed",
        help="Report of 'verify --key' on the same model; this report then gives both verdicts.",
    ),
]
CompletedPictures = Annotated[
    int | None,
    typer.Option(
        "--pictures",
        min=0,
        help="Number of pictures of each set that are half hidden and completed by the models, as "
        "an illustration in the report; default 4, 0 for none.",
    ),
]
Weight = Annotated[
    float, typer.Option("--scale", help="Weight of adapters that are given without a weight.")
]
BaseModel = Annotated[
    str | None,
    typer.Option(
        "--base", help="Base model: pocket (bundled), a diffusers folder or a checkpoint file."
    ),
]
BlackBox = Annotated[
    str | None,
    typer.Option(
        "--suspect",
        help="Use this instead of the model's file if you only have its pictures or an API; this "
        f"is weak evidence. Give {SUSPECT_HELP}",
    ),
]


def passive(
    published: Published,
    unpublished: Unpublished,
    out: ReportFolder,
    base: BaseModel = None,
    adapter: Adapters = None,
    suspect: BlackBox = None,
    control: CleanModel = None,
    alpha: Risk = None,
    keyed: KeyedReport = None,
    pictures: CompletedPictures = None,
    scale: Weight = 1.0,
    allow_partial: AllowPartial = False,
    limit: LimitOptions = None,
    token_env: TokenVariables = None,
    trust_host: TrustedHosts = None,
    sign: SigningKey = None,
    passphrase_env: PassphraseEnv = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Test whether a model was trained on images that were never coated; write a report.

    This needs the model's file and two sets of images of the same kind by the same artist: images
    that were published, and as many that nobody else has seen. If the two sets differ in other ways
    too, the verdict is invalid. If you only have the model's pictures or an API, give --suspect:
    the report then says whether its pictures are closer to the published images, which is not an
    accusation. Run the same command again to resume a stopped one. The exit code is 0 for every
    verdict; read the verdict from the report.
    """
    from siren_ext.data.dataset import ImageSet
    from siren_ext.report.keyed_summary import keyed_summary
    from siren_ext.workflows.passive_evidence import passive_evidence
    from siren_ext.workflows.passive_pictures import picture_evidence

    given = _settings(config, assign, alpha, pictures)
    _check_models(given.judged, base, adapter, suspect, control, pictures)
    remote = {"--limit": limit, "--token-env": token_env, "--trust-host": trust_host}
    _refuse_idle(suspect, remote, assign)
    check_output(out, "report", force=force)
    shared: dict[str, Any] = {"keyed": None if keyed is None else keyed_summary(keyed)}
    opened = _opener(
        base, scale, allow_partial, limits(limit), trust(token_env, trust_host), device
    )
    signer = open_signer(sign, passphrase_env) if sign else None
    sets = ImageSet.open(published), ImageSet.open(unpublished)
    for images in sets:
        report_notices(images.notices)
    with watched(quiet) as progress:
        shared |= {"signer": signer, "progress": progress}
        if suspect is not None:
            shared["control"] = opened(control) if control else None
            shared["captions"] = given.measured.captions == "own"
            found = picture_evidence(
                *sets, opened(suspect), out, given.likeness, given.judged, **shared
            )
        elif base is not None:
            own = _model(base, adapter, scale, allow_partial, device)
            models = own, _control(control, base, device)
            shared["completion"] = given.completion
            found = passive_evidence(*sets, *models, out, given.measured, given.judged, **shared)
    print_passive(found.verdict)
    if signer is not None:
        explain(f"Signed by {signer.public}")
    say(str(found.report.html))
    report_skipped(found.problems, "image")


class _Settings(NamedTuple):
    """How images are measured, how strict the verdict is, and how pictures are handled."""

    measured: PassiveConfig
    judged: JudgeConfig
    completion: CompletionConfig
    likeness: LikenessConfig


def _settings(
    config: Path | None, assign: list[str] | None, alpha: float | None, pictures: int | None
) -> _Settings:
    from siren_ext.passive.config import CompletionConfig, LikenessConfig, PassiveConfig
    from siren_ext.passive.judge_config import JudgeConfig

    groups = {"test": JudgeConfig, "completion": CompletionConfig, "likeness": LikenessConfig}
    values = gather(PassiveConfig, config, assign, groups=groups)
    judged = values.pop("test") | ({} if alpha is None else {"alpha": alpha})
    shown = values.pop("completion") | ({} if pictures is None else {"count": pictures})
    compared = LikenessConfig.from_dict(values.pop("likeness"))
    return _Settings(
        PassiveConfig.from_dict(values),
        JudgeConfig.from_dict(judged),
        CompletionConfig.from_dict(shown),
        compared,
    )


def _check_models(
    judged: JudgeConfig,
    base: str | None,
    adapter: list[str] | None,
    suspect: str | None,
    control: str | None,
    pictures: int | None,
) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    if suspect is not None:
        if adapter or pictures:
            raise ConfigError(
                f"{'--adapter' if adapter else '--pictures'} was given with --suspect, but it is "
                "only for a model's file. Give a LoRA file as --suspect itself, or test it with "
                "--base and --adapter, which is stronger."
            )
        if judged.evidence not in ("losses", "likeness"):
            raise ConfigError(
                f"test.evidence is {judged.evidence}, but with --suspect only pictures are "
                "compared; leave test.evidence out."
            )
        check_base(
            base,
            {"--suspect": suspect, "--control": control},
            "leave it out, or test the model's file with --base and --adapter",
        )
        return
    if base is None:
        raise ConfigError(
            "No model was given. Give the model's file with --base and the suspicious LoRA with "
            "--adapter; if you only have its pictures or an API, give --suspect."
        )
    if judged.evidence == "likeness":
        raise ConfigError(
            "test.evidence is likeness, which is only for --suspect; leave test.evidence out."
        )
    if adapter is None and control is None:
        raise ConfigError(
            "No model was given to compare with. Give the suspicious LoRA with --adapter, so that "
            "it is compared with its --base, or give an older model with --control."
        )


def _refuse_idle(
    suspect: str | None, remote: Mapping[str, list[str] | None], assign: list[str] | None
) -> None:
    """Refuse options of suspects, and groups of settings, that the kind of test does not read."""
    idle, other = "completion", "the model's file"
    options: list[str] = []
    if suspect is None:
        idle, other = "likeness", "--suspect"
        options = [option for option, given in remote.items() if given]
    names = [split_assignment(text)[0] for text in assign or ()]
    options += [f"--set {name}" for name in names if name.partition(".")[0] == idle]
    if options:
        raise ConfigError(
            f"{options[0]} was given, but it is only for a test of {other}; leave it out."
        )


def _opener(
    base: str | None,
    scale: float,
    allow_partial: bool,
    limits: RequestLimits,
    trust: Trust,
    device: str,
) -> Callable[[str], Suspect]:
    """A function that opens what --suspect names."""
    from siren_ext.suspects.open import needs_base, open_suspect

    def opened(text: str) -> Suspect:
        return open_suspect(
            text,
            base=base if needs_base(text) else None,
            scale=scale,
            allow_partial=allow_partial,
            limits=limits,
            trust=trust,
            device=device,
        )

    return opened


def print_passive(verdict: PassiveVerdict) -> None:
    """Print a passive verdict on stdout, its warnings on stderr.

    Parameters
    ----------
    verdict : PassiveVerdict
        of :func:`~siren_ext.passive.judge.judge`.
    """
    from siren_ext.passive.wording import CONTROLS

    found = verdict.comparison
    say(f"{verdict.outcome}: {verdict.headline}")
    say(f"p = {found.p_value:.3g}, n = {found.n} published against {found.n} unpublished images")
    for control in verdict.controls:
        say(f"control by {CONTROLS[control.name]}: p = {control.adjusted:.3g}")
    if verdict.combined:
        say(verdict.combined)
    for warning in verdict.warnings:
        explain(f"Note: {warning}")


def _model(
    base: str, adapter: list[str] | None, scale: float, allow_partial: bool, device: str
) -> LocalSuspect:
    """A model in 32-bit numbers, which the features need."""
    import torch

    from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

    merged = [WeightedAdapter.parse(text, scale) for text in adapter or ()]
    return LocalSuspect(
        base, merged, allow_partial=allow_partial, device=device, dtype=torch.float32
    )


def _control(name: str | None, base: str, device: str) -> LocalSuspect:
    """The clean model that ``--control`` names; the base without it."""
    from siren_ext.suspects.open import needs_base

    if name is None:
        return _model(base, None, 1.0, False, device)
    if needs_base(name):
        return _model(base, [name], 1.0, False, device)
    return _model(name, None, 1.0, False, device)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "passive",
        example="siren-ext passive --published photos --unpublished unseen --base sd15.safetensors "
        "--adapter suspect.safetensors --out report",
    )(passive)
