"""``investigate``: from a suspect to a report in one go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import (
    AllowPartial,
    Assignments,
    ConfigFile,
    Count,
    Device,
    Guidance,
    ImageSeed,
    Prompts,
    Quiet,
    SamplingSteps,
    Side,
    command,
    parse_assignment,
    report_skipped,
    say,
    settings,
    watched,
)
from siren_ext.cli.passphrase import KeyFile, PassphraseEnv, open_keys
from siren_ext.cli.verify import tell
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.suspects.base import Suspect
    from siren_ext.suspects.remote import RequestLimits

SUSPECT_HELP = (
    "a1111://host:port?model=..&lora=.., comfyui://host:port?workflow=.., a TOML file that "
    "describes an API, a folder of images, a diffusers folder, a checkpoint, or a LoRA file (with "
    "--base)."
)
LimitOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="For black boxes; may be repeated: timeout, attempts, backoff, pause, give_up, "
        "requests, price, budget.",
    ),
]


def limits(given: list[str] | None) -> RequestLimits:
    """Limits of black boxes from ``--limit``; raises :class:`ConfigError`."""
    from siren_ext.suspects.remote import RequestLimits

    return RequestLimits.from_dict(dict(parse_assignment(text) for text in given or ()))


def register(app: typer.Typer) -> None:
    """Add the command of this module."""

    @command(
        app,
        "investigate",
        example="siren-ext investigate --suspect 'a1111://127.0.0.1:7860?lora=stolen' "
        "--reference clean.json --coater coater.safetensors "
        "--prompt 'an image of a pokemon' -n 100 --out case",
    )
    def investigate_(
        suspect: Annotated[str, typer.Option("--suspect", help=SUSPECT_HELP)],
        coater: Annotated[Path, typer.Option("--coater", help="The coater that was released.")],
        out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")],
        reference: Annotated[
            str | None,
            typer.Option(
                "--reference",
                help="A model that never saw the coated images, given like --suspect and asked for "
                "the same prompts and seeds, or a file of scores.",
            ),
        ] = None,
        key: KeyFile = None,
        recipient: Annotated[
            str | None, typer.Option("--recipient", help="Whose key, if the file holds several.")
        ] = None,
        passphrase_env: PassphraseEnv = None,
        base: Annotated[
            str | None, typer.Option("--base", help="The model that a LoRA file is for.")
        ] = None,
        prompt: Prompts = None,
        count: Count = None,
        seed: ImageSeed = None,
        steps: SamplingSteps = None,
        guidance: Guidance = None,
        size: Side = None,
        alpha: Annotated[
            float,
            typer.Option("--alpha", help="Risk of accusing an innocent model."),
        ] = 1e-6,
        stop_early: Annotated[
            bool,
            typer.Option(
                "--stop-early", help="Make no more images once a sequential test decided."
            ),
        ] = False,
        allow_partial: AllowPartial = False,
        limit: LimitOptions = None,
        config: ConfigFile = None,
        assign: Assignments = None,
        batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 8,
        device: Device = "auto",
        quiet: Quiet = False,
    ) -> None:
        """Generate from a suspect, score, verify, and write the report, in one go.

        Give a --reference, the --key of a keyed coater, or both.
        --config and --set take the settings of 'generate'. A second call goes on where the first
        stopped. The exit code is 0 for every verdict, 3 when some images could not be had.
        """
        from siren_ext.coater.bundled import coater_path
        from siren_ext.coater.coater import Coater
        from siren_ext.devices import pick_device
        from siren_ext.suspects.base import PromptPlan
        from siren_ext.suspects.open import open_suspect
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
        chosen = VerifyConfig(alpha=alpha)

        def opened(text: str) -> Suspect:
            return open_suspect(
                text,
                base=base if _takes_base(text) else None,
                allow_partial=allow_partial,
                limits=limits(limit),
                device=device,
                batch_size=batch_size,
            )

        other: Suspect | ScoreSet | None
        if reference is None:
            other = None
        elif reference.endswith(".json"):
            from siren_ext.scoring.score_set import ScoreSet

            other = ScoreSet.load(Path(reference))
        else:
            other = opened(reference)
        if base is not None and not any(map(_takes_base, filter(None, (suspect, reference)))):
            raise ConfigError("--base is given, but neither suspect nor reference is a LoRA file.")
        loaded = Coater.load(coater_path(coater), device=pick_device(device))
        secret = open_keys(key, passphrase_env).key(recipient) if key else None
        with watched(quiet) as progress:
            found = investigate(
                opened(suspect),
                other,
                loaded,
                plan,
                out,
                chosen,
                key=secret,
                stop_early=stop_early,
                batch_size=batch_size,
                progress=progress,
            )
        tell(found.verdict)
        if found.sequential is not None:
            say(f"sequential p = {found.sequential.p_value:.3g}, n = {found.sequential.images}")
        say(str(found.report.html))
        report_skipped(found.missed, "images could not be had and were")


def _takes_base(text: str) -> bool:
    """Whether a suspect is an adapter, which needs a base."""
    from siren_ext.suspects.open import needs_base

    return needs_base(text)
