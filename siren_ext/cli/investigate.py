"""``investigate``: from a suspicious model to a report in one command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import command, report_skipped, say, settings, watched
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    BatchSize,
    ConfigFile,
    Count,
    Device,
    Guidance,
    ImageSeed,
    Prompts,
    Quiet,
    ReleasedCoater,
    ResultFolder,
    SamplingSteps,
    Side,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, Recipient, open_key
from siren_ext.cli.suspects import (
    SUSPECT_HELP,
    LimitOptions,
    TokenVariables,
    TrustedHosts,
    check_base,
    limits,
    takes_base,
    trust,
)
from siren_ext.cli.verify import print_verdict

if TYPE_CHECKING:
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.suspects.base import Suspect
    from siren_ext.suspects.remote import RequestLimits
    from siren_ext.suspects.trust import Trust
    from siren_ext.workflows.investigate import Investigation

Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help="A model that never saw the coated images, given like --suspect and sampled with the "
        "same prompts and seeds; or a JSON file of its scores.",
    ),
]
Alpha = Annotated[
    float,
    typer.Option(
        "--alpha",
        help="Accepted risk of a false alarm. What that means depends on the test; see 'siren-ext "
        "verify --help'.",
    ),
]


def investigate_(
    suspect: Annotated[str, typer.Option("--suspect", help=SUSPECT_HELP)],
    coater: ReleasedCoater,
    out: ResultFolder,
    reference: Reference = None,
    key: KeyFile = None,
    recipient: Recipient = None,
    passphrase_env: PassphraseEnv = None,
    base: Annotated[str | None, typer.Option("--base", help="Base model of a LoRA file.")] = None,
    prompt: Prompts = None,
    count: Count = None,
    seed: ImageSeed = None,
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    size: Side = None,
    alpha: Alpha = 1e-6,
    stop_early: Annotated[
        bool,
        typer.Option("--stop-early", help="Stop generating once a sequential test has decided."),
    ] = False,
    allow_partial: AllowPartial = False,
    limit: LimitOptions = None,
    token_env: TokenVariables = None,
    trust_host: TrustedHosts = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    batch_size: BatchSize = 8,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Generate images with a suspicious model, score them, verify and write the report.

    Give a --reference, the --key of a keyed coater, or both. --config and --set take the settings
    of 'generate'. Run the same command again to resume a stopped run. The exit code is 0 for every
    verdict, or 3 if some images could not be made.
    """
    from siren_ext.coater.bundled import coater_path
    from siren_ext.coater.coater import Coater
    from siren_ext.devices import pick_device
    from siren_ext.suspects.base import PromptPlan
    from siren_ext.verdict.config import VerifyConfig
    from siren_ext.workflows.investigate import investigate

    plan = settings(
        PromptPlan,
        config,
        assign,
        prompts=tuple(prompt) if prompt else None,
        count=count,
        seed=seed,
        steps=steps,
        guidance=guidance,
        size=size,
    )
    _check_outputs(out, force=force)
    allowed = trust(token_env, trust_host)
    opened = _opener(base, allow_partial, limits(limit), allowed, device, batch_size)
    other = _reference(reference, opened)
    check_base(base, {"--suspect": suspect, "--reference": reference})
    loaded = Coater.load(coater_path(coater), device=pick_device(device))
    secret = open_key(key, recipient, passphrase_env) if key else None
    model = opened(suspect)
    with watched(quiet) as progress:
        found = investigate(
            model,
            other,
            loaded,
            plan,
            out,
            VerifyConfig(alpha=alpha),
            key=secret,
            stop_early=stop_early,
            batch_size=batch_size,
            progress=progress,
        )
    _print_result(found)
    report_skipped(found.missed, "image")


def _print_result(found: Investigation) -> None:
    """Print the verdict and where the report is."""
    print_verdict(found.verdict)
    if found.sequential is not None:
        say(f"sequential p = {found.sequential.p_value:.3g}, n = {found.sequential.images}")
    say(str(found.report.html))


def _check_outputs(out: Path, *, force: bool) -> None:
    """Refuse to replace files of another kind, or a signed report."""
    check_output(out / "report", "report", force=force)
    for name in ("suspect.json", "reference.json"):
        check_output(out / name, "scores", force=force)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "investigate",
        example="siren-ext investigate --suspect 'a1111://127.0.0.1:7860?lora=stolen' "
        "--reference clean.json --coater coater.safetensors "
        "--prompt 'an image of a pokemon' -n 100 --out case",
    )(investigate_)


def _opener(
    base: str | None,
    allow_partial: bool,
    limits: RequestLimits,
    trust: Trust,
    device: str,
    batch_size: int,
) -> Callable[[str], Suspect]:
    """A function that opens a model given like --suspect."""
    from siren_ext.suspects.open import open_suspect

    def opened(text: str) -> Suspect:
        return open_suspect(
            text,
            base=base if takes_base(text) else None,
            allow_partial=allow_partial,
            limits=limits,
            trust=trust,
            device=device,
            batch_size=batch_size,
        )

    return opened


def _reference(text: str | None, opened: Callable[[str], Suspect]) -> Suspect | ScoreSet | None:
    """The model, or the scores of one, that --reference names."""
    if text is None:
        return None
    if text.endswith(".json"):
        from siren_ext.scoring.score_set import ScoreSet

        return ScoreSet.load(Path(text))
    return opened(text)
