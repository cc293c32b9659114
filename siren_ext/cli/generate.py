"""``generate``: make images with a model, to score them or to compare models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import command, explain, report_skipped, say, settings, watched
from siren_ext.cli.launched import refuse_launched
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    BatchSize,
    ConfigFile,
    Count,
    Device,
    Engine,
    Guidance,
    ImageSeed,
    Processes,
    Prompts,
    Quiet,
    SamplingSteps,
    Side,
)
from siren_ext.cli.places import is_url, place, several, shown
from siren_ext.cli.suspects import (
    SUSPECT_HELP,
    LimitOptions,
    TokenVariables,
    TrustedHosts,
    limits,
    trust,
)
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.suspects.base import PromptPlan, Suspect

Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="FILE[:WEIGHT]",
        help="LoRA, LyCORIS or peft adapter to merge into the base, or a textual inversion; may "
        "be repeated.",
    ),
]
OptionalBase = Annotated[
    str | None,
    typer.Option("--base", help="pocket (bundled), a diffusers folder or a checkpoint file."),
]

Scale = Annotated[
    float, typer.Option("--scale", help="Weight of adapters that are given without a weight.")
]


def generate(
    out: Annotated[Path, typer.Option("--out", help="Folder for the images.")],
    suspect: Annotated[
        str | None, typer.Option("--suspect", help=f"Instead of --base: {SUSPECT_HELP}")
    ] = None,
    base: OptionalBase = None,
    prompt: Prompts = None,
    adapter: Adapters = None,
    count: Count = None,
    seed: ImageSeed = None,
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    size: Side = None,
    negative: Annotated[str | None, typer.Option("--negative", help="Negative prompt.")] = None,
    scale: Scale = 1.0,
    allow_partial: AllowPartial = False,
    limit: LimitOptions = None,
    token_env: TokenVariables = None,
    trust_host: TrustedHosts = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    batch_size: BatchSize = 8,
    processes: Processes = 1,
    engine: Engine = "local",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Generate images with a model and record their prompts, seeds and settings.

    Run the same command again to make only the images that are missing.
    """
    from siren_ext.suspects.base import PromptPlan, generate_images, read_missed
    from siren_ext.suspects.local import LocalSuspect
    from siren_ext.suspects.open import open_suspect

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
        negative=negative,
    )
    most, apart = limits(limit), several(processes, engine)
    if suspect is None:
        source = _from_base(base, adapter, scale, allow_partial, device, batch_size)
    elif adapter is not None:
        raise ConfigError(
            "--adapter needs --base. With --suspect, give the LoRA file as --suspect itself."
        )
    else:
        source = open_suspect(
            suspect,
            base=base,
            scale=scale,
            allow_partial=allow_partial,
            limits=most,
            trust=trust(token_env, trust_host),
            device=device,
            batch_size=batch_size,
        )
    refuse_launched("a model that is not on this machine", given=not _is_local(source))
    refuse_launched("--processes, --engine and URLs in --out", given=apart or is_url(out))
    with watched(quiet) as progress:
        options: dict[str, Any] = {"progress": progress}
        if apart or is_url(out):
            options |= {"processes": processes, "engine": engine}
            count, missed = _with_workers(source, plan, place(out), options)
        else:
            count = len(generate_images(source, plan, out, **options))
            missed = read_missed(out)
    if allow_partial and isinstance(source, LocalSuspect):
        for warning in source.warnings:
            explain(f"Warning: {warning}")
    say(f"{count} image{'' if count == 1 else 's'}: {shown(out)}")
    report_skipped(missed, "image")


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "generate",
        several=True,
        example="siren-ext generate --base pocket --adapter suspect.safetensors "
        "--prompt 'an image of a pokemon' -n 100 --out mimicries",
    )(generate)


def _with_workers(
    source: Suspect, plan: PromptPlan, out: str, options: dict[str, Any]
) -> tuple[int, list[tuple[str, str]]]:
    """Generate with other processes; how many pictures there are, and what is missing."""
    from siren_ext.scale.generate import generate_with_workers
    from siren_ext.suspects.local import LocalSuspect

    if not isinstance(source, LocalSuspect):
        raise ConfigError(
            "--processes, --engine and URLs in --out need a model on this machine; leave them out "
            "for other suspects."
        )
    made = generate_with_workers(source, plan, out, **options)
    return len(made.names), list(made.missed)


def _is_local(source: Suspect) -> bool:
    """Whether pictures are made by a model in this process."""
    from siren_ext.suspects.local import LocalSuspect

    return isinstance(source, LocalSuspect)


def _from_base(
    base: str | None,
    adapters: list[str] | None,
    scale: float,
    allow_partial: bool,
    device: str,
    batch_size: int,
) -> Suspect:
    """The model that --base with its adapters names."""
    from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

    if base is None:
        raise ConfigError("No model was given; give --base or --suspect.")
    return LocalSuspect(
        base,
        [WeightedAdapter.parse(text, scale) for text in adapters or ()],
        allow_partial=allow_partial,
        device=device,
        batch_size=batch_size,
    )
