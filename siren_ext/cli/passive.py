"""``passive``: was a model trained on images that were published without a coating?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import (
    command,
    explain,
    gather,
    report_notices,
    report_skipped,
    say,
    watched,
)
from siren_ext.cli.generate import Adapters
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    Base,
    ConfigFile,
    Device,
    Quiet,
    ReportFolder,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import PassphraseEnv, open_signer
from siren_ext.cli.verify import SigningKey
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.passive.config import PassiveConfig
    from siren_ext.passive.judge import PassiveVerdict
    from siren_ext.passive.judge_config import JudgeConfig
    from siren_ext.suspects.local import LocalSuspect

CleanModel = Annotated[
    str | None,
    typer.Option(
        "--control",
        metavar="MODEL",
        help="Model that can't have seen the published images: an older model, or a LoRA of other "
        "images. With --adapter it is the base by default.",
    ),
]


def passive(
    published: Annotated[
        Path,
        typer.Option("--published", help="P: folder of published images that were not coated."),
    ],
    unpublished: Annotated[
        Path,
        typer.Option(
            "--unpublished", help="U: folder of images of the same kind that nobody has seen."
        ),
    ],
    base: Base,
    out: ReportFolder,
    adapter: Adapters = None,
    control: CleanModel = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help="Accepted risk of accusing an innocent model; default 0.001."),
    ] = None,
    keyed: Annotated[
        Path | None,
        typer.Option("--keyed", help="Report of 'verify --key' on the same model, to state both."),
    ] = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Weight of adapters that are given without one.")
    ] = 1.0,
    allow_partial: AllowPartial = False,
    sign: SigningKey = None,
    passphrase_env: PassphraseEnv = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Test whether a model was trained on images that were never coated; write a report.

    The model's file is needed, and two sets of the same kind by the same hand: images that were
    published, and as many that nobody has seen. If the two sets differ in themselves, the verdict
    is invalid. Run the same command again to resume a stopped one. The exit code is 0 for every
    verdict; read the verdict from the report.
    """
    from siren_ext.data.dataset import ImageSet
    from siren_ext.report.keyed_summary import keyed_summary
    from siren_ext.workflows.passive_evidence import passive_evidence

    features, strictness = _settings(config, assign, alpha)
    if adapter is None and control is None:
        raise ConfigError(
            "There is no model to compare with. Give the suspicious LoRA with --adapter, so that "
            "it is compared with its --base, or give an older model with --control."
        )
    check_output(out, "report", force=force)
    beside = None if keyed is None else keyed_summary(keyed)
    models = _model(base, adapter, scale, allow_partial, device), _control(control, base, device)
    signer = open_signer(sign, passphrase_env) if sign else None
    sets = ImageSet.open(published), ImageSet.open(unpublished)
    for given in sets:
        report_notices(given.notices)
    with watched(quiet) as progress:
        found = passive_evidence(
            *sets,
            *models,
            out,
            features,
            strictness,
            keyed=beside,
            signer=signer,
            progress=progress,
        )
    print_passive(found.verdict)
    if signer is not None:
        explain(f"Signed by {signer.public}")
    say(str(found.report.html))
    report_skipped(found.problems, "image")


def _settings(
    config: Path | None, assign: list[str] | None, alpha: float | None
) -> tuple[PassiveConfig, JudgeConfig]:
    """How images are measured, and the group ``test``: how strict the verdict is."""
    from siren_ext.passive.config import PassiveConfig
    from siren_ext.passive.judge_config import JudgeConfig

    values = gather(PassiveConfig, config, assign, groups={"test": JudgeConfig})
    judged = values.pop("test") | ({} if alpha is None else {"alpha": alpha})
    return PassiveConfig.from_dict(values), JudgeConfig.from_dict(judged)


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
