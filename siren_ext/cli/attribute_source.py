"""``attribute source``: was a model trained on pictures of another model?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from siren_ext.cli.common import (
    command,
    explain,
    gather,
    report_skipped,
    say,
    watched,
)
from siren_ext.cli.options import (
    AllowPartial,
    Assignments,
    ConfigFile,
    Device,
    Quiet,
    ReportFolder,
)
from siren_ext.cli.output import Force, check_output
from siren_ext.cli.source_model import Source, captions_of, opener, training_images
from siren_ext.cli.suspects import LimitOptions, TokenVariables, TrustedHosts, limits, trust
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from siren_ext.suspects.base import Suspect
    from siren_ext.workflows.source_attribution import SourceAttribution

Suspicious = Annotated[
    str,
    typer.Option(
        "--suspect",
        metavar="MODEL",
        help="The suspicious model, in any of the forms that --source takes.",
    ),
]
TrainingImages = Annotated[
    Path | None,
    typer.Option("--data", help="Training images of the source, with their captions."),
]
Captions = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        metavar="FILE.txt",
        help="File of captions, one per line, that your model is prompted with. Without --data, "
        "the captions for which it always makes the same picture are used.",
    ),
]
Innocent = Annotated[
    list[str] | None,
    typer.Option(
        "--innocent",
        metavar="MODEL",
        help="Model of the same kind that can't have seen pictures of the source; may be "
        "repeated. The test needs three or more to accuse anybody.",
    ),
]
Known = Annotated[
    list[str] | None,
    typer.Option(
        "--known",
        metavar="MODEL",
        help="Model that you trained on pictures of the source; may be repeated. With innocent "
        "ones it is used to choose the threshold; three or more are also used as shadow "
        "models.",
    ),
]
Public = Annotated[
    str | None,
    typer.Option(
        "--public",
        metavar="MODEL",
        help="Public model that the source was trained from: pictures that it reproduces too are "
        "not counted. By default the model of --base; with 'none' everything is counted.",
    ),
]
LoraBase = Annotated[
    str | None, typer.Option("--base", help="Base model of all LoRA files that are given.")
]
Weight = Annotated[float, typer.Option("--scale", help="Weight of LoRA files.")]


def source(
    source: Source,
    suspect: Suspicious,
    out: ReportFolder,
    data: TrainingImages = None,
    captions: Captions = None,
    innocent: Innocent = None,
    known: Known = None,
    public: Public = None,
    base: LoraBase = None,
    scale: Weight = 1.0,
    allow_partial: AllowPartial = False,
    limit: LimitOptions = None,
    token_env: TokenVariables = None,
    trust_host: TrustedHosts = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Test whether a model was trained on pictures that your model made; write a report.

    Your model is asked for its key samples: pictures that it reproduces and other models don't. The
    suspicious model is asked for the same pictures. Give innocent models of the same kind: without
    them, nobody is accused. The page says what the result does not prove. Run the same command
    again to resume a stopped one; pictures are kept in OUT.pictures. The exit code is 0 for every
    verdict.
    """
    from siren_ext.attribution.source_config import ShadowConfig, SourceConfig
    from siren_ext.workflows.source_attribution import SourceQuestion, attribute_source

    given = gather(SourceConfig, config, assign, groups={"shadow": ShadowConfig})
    shadows = ShadowConfig.from_dict(given.pop("shadow"))
    chosen = SourceConfig.from_dict(given)
    check_output(out, "source", force=force)
    if data is not None and captions is not None and chosen.strategy != "generation":
        raise ConfigError(
            "--captions was given with --data, whose images have their own captions; expected one "
            "of the two. Leave one out, or use the captions alone with --set strategy=generation."
        )
    opened = opener(base, scale, allow_partial, limits(limit), trust(token_env, trust_host), device)
    clean = None if public == "none" else public or base
    question = SourceQuestion(
        source=opened(source),
        suspect=opened(suspect),
        data=training_images(data),
        captions=captions_of(captions),
        base=None if clean is None else opened(clean),
        known=_named(known, opened),
        innocent=_named(innocent, opened),
    )
    with watched(quiet) as progress:
        done = attribute_source(question, out, chosen, shadows, progress=progress)
    _print(done)
    say(str(done.report.html))
    report_skipped(done.problems, "image")


def _named(texts: list[str] | None, opened: Callable[[str], Suspect]) -> dict[str, Suspect]:
    """Models by the last part of what was typed, which is made unique where needed."""
    found: dict[str, Suspect] = {}
    for text in texts or ():
        short = Path(text).name if "://" not in text else text.partition("?")[0]
        name, number = short, 2
        while name in found:
            name, number = f"{short} ({number})", number + 1
        found[name] = opened(text)
    return found


def _print(done: SourceAttribution) -> None:
    """The verdict on stdout, notes on stderr."""
    verdict = done.verdict
    say(verdict.headline)
    say(
        f"conf {verdict.confidence:.2f}, p {verdict.p_value:.3g}, threshold "
        f"{verdict.threshold.delta:g}"
    )
    for name, (hits, total) in verdict.models.items():
        say(f"{name}: {hits} of {total}")
    if verdict.shadow is not None:
        where = "above" if verdict.shadow.above else "not above"
        say(
            f"Shadow models: score {verdict.shadow.score:.2f}, {where} the threshold "
            f"{verdict.shadow.threshold:.2f}; AUC {verdict.shadow.auc:.2f}"
        )
    for note in verdict.notes:
        explain(f"Note: {note}")
    explain("The page says what this does not prove.")


def register(group: typer.Typer) -> None:
    """Add the command to its group.

    Parameters
    ----------
    group : typer.Typer
        the group ``attribute``.
    """
    command(
        group,
        "source",
        example="siren-ext attribute source --source mine.safetensors --base sd15.safetensors "
        "--data photos --suspect suspect.safetensors --innocent other1.safetensors --innocent "
        "other2.safetensors --innocent other3.safetensors --out report",
    )(source)
