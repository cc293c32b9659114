"""``attribute shadow``: train models with which ``attribute source`` is calibrated."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from siren_ext.cli.common import command, gather, report_notices, report_skipped, say, watched
from siren_ext.cli.options import AllowPartial, Assignments, Base, ConfigFile, Device, Quiet
from siren_ext.cli.source_model import Source, captions_of, opener, training_images
from siren_ext.cli.suspects import LimitOptions, TokenVariables, TrustedHosts, limits, trust
from siren_ext.errors import ConfigError

Others = Annotated[
    Path,
    typer.Option(
        "--others",
        help="Your images, with captions, that the source has neither seen nor made.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Training images of the source; it is given their captions as prompts."
    ),
]
Captions = Annotated[
    Path | None,
    typer.Option(
        "--captions",
        metavar="FILE.txt",
        help="File of captions, one per line, in place of those of --data.",
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Folder for pictures and models; run the same command again to resume a stopped run.",
    ),
]


def shadow(
    source: Source,
    others: Others,
    base: Base,
    out: Folder,
    data: Data = None,
    captions: Captions = None,
    count: Annotated[
        int | None, typer.Option("-n", "--count", help="Number of models of each kind.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Number of training images for each model.")
    ] = None,
    allow_partial: AllowPartial = False,
    limit: LimitOptions = None,
    token_env: TokenVariables = None,
    trust_host: TrustedHosts = None,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train models on your model's pictures, and others on other images.

    Give them to 'attribute source' as --known and --innocent: it chooses its threshold with them
    and learns how the two kinds differ. Train them as the suspicious model was trained, as far as
    you know it: same base, number of images and steps (--set training.steps=3000). Prints the
    options to add to 'attribute source'.
    """
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.workflows.shadow_models import ShadowTraining, train_shadows

    given = gather(
        ShadowTraining,
        config,
        assign,
        groups={"training": PersonalizeConfig},
        count=count,
        images=images,
    )
    training = PersonalizeConfig.from_dict(given.pop("training"))
    chosen = ShadowTraining.from_dict(given)
    if (data is None) == (captions is None):
        raise ConfigError(
            "--data and --captions were both given, or neither; expected exactly one of them, "
            "because the captions are the prompts for the source."
        )
    opened = opener(base, 1.0, allow_partial, limits(limit), trust(token_env, trust_host), device)
    model = opened(source)
    real = ImageSet.open(others)
    report_notices(real.notices)
    texts = captions_of(captions, training_images(data))
    with watched(quiet) as progress:
        real = real.checked(progress=progress)
        made = train_shadows(
            model, texts, real, base, out, chosen, training, device=device, progress=progress
        )
    for option, models in (("--known", made.known), ("--innocent", made.innocent)):
        for path in models:
            say(f"{option} {shlex.quote(str(path))}")
    report_skipped(real.problems, "image")


def register(group: typer.Typer) -> None:
    """Add the command to its group.

    Parameters
    ----------
    group : typer.Typer
        the group ``attribute``.
    """
    command(
        group,
        "shadow",
        example="siren-ext attribute shadow --source mine.safetensors --base sd15.safetensors "
        "--data photos --others others --out shadows",
    )(shadow)
