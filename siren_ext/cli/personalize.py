"""``personalize``: train a model on images, as the trainer of a suspicious model might."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from siren_ext.cli.common import (
    command,
    report_notices,
    report_skipped,
    say,
    settings,
    split_assignment,
    watched,
)
from siren_ext.cli.options import Assignments, Base, ConfigFile, Device, Images, Quiet, Seed
from siren_ext.cli.output import Force, check_output
from siren_ext.errors import ConfigError

if TYPE_CHECKING:
    from siren_ext.personalize.config import PersonalizeConfig

WRITTEN = {
    "lora": "LoRA",
    "dreambooth": "Model",
    "full": "Model",
    "textual-inversion": "Embedding",
    "svdiff": "Spectral shifts",
    "custom-diffusion": "Custom Diffusion weights",
}

Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="lora, dreambooth, full, textual-inversion, svdiff or custom-diffusion (default "
        "lora).",
    ),
]
Written = Annotated[
    Path,
    typer.Option(
        "--out",
        help="What to write: a .safetensors file, or a folder for dreambooth, full (which also "
        "write a checkpoint file) and custom-diffusion.",
    ),
]
ClassImages = Annotated[
    Path | None,
    typer.Option(
        "--class-images",
        help="Other images of the same kind of subject, for dreambooth and custom-diffusion. By "
        "default, the subsets of a dataset.toml with is_reg = true.",
    ),
]
Unlearn = Annotated[
    float | None,
    typer.Option(
        "--unlearn",
        help="Also unlearn this share of the images, those with the lowest loss, as somebody who "
        "suspects a coating might do (ABL).",
    ),
]
Augment = Annotated[
    list[str] | None,
    typer.Option(
        "--augment",
        metavar="NAME[:SETTING=VALUE,...]",
        help="Change every image in this way each time it is used, such as crop or "
        "jpeg:quality=60; may be repeated, and is applied in order. 'siren-ext attack "
        "--list' shows all names and settings.",
    ),
]


def personalize_(
    data: Images,
    base: Base,
    out: Written,
    method: Method = None,
    class_images: ClassImages = None,
    class_prompt: Annotated[
        str | None,
        typer.Option(
            "--class-prompt",
            help="What the class images show. If no class images are given, they are generated "
            "with this prompt.",
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            help="The new word that textual-inversion and custom-diffusion teach the model.",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Training steps.")] = None,
    rank: Annotated[int | None, typer.Option("--rank", help="Rank of the LoRA.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Learning rate.")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="One caption for all images, instead of their own captions."),
    ] = None,
    unlearn: Unlearn = None,
    augment: Augment = None,
    seed: Seed = None,
    force: Force = False,
    config: ConfigFile = None,
    assign: Assignments = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a LoRA or another kind of personalised model on a set of images.

    The clean reference that 'verify' needs is trained in the same way, on the originals.
    """
    from siren_ext.personalize.prior import open_sets
    from siren_ext.personalize.save import writes_file

    kind, train, more_settings = _training(unlearn, augment)
    chosen = settings(
        kind,
        config,
        assign,
        steps=steps,
        rank=rank,
        learning_rate=learning_rate,
        prompt=prompt,
        seed=seed,
        method=method,
        class_prompt=class_prompt,
        token=token,
        **more_settings,
    )
    _refuse_unused(chosen.method, assign, rank=rank, class_prompt=class_prompt, token=token)
    if writes_file(out, chosen):  # personalize replaces no other folders
        check_output(out, "adapter", force=force)
    found, more = open_sets(data, class_images, chosen)
    report_notices([*found.notices, *(more.notices if more is not None else ())])
    with watched(quiet) as progress:
        images = found.checked(progress=progress)
        more = more and more.checked(progress=progress)
        where: Any = {"device": device, "progress": progress, "force": force}
        made = train(images, base, chosen, out, class_images=more, **where)
    say(f"{WRITTEN[chosen.method]} written: {out}")
    problems = [*images.problems, *(more.problems if more is not None else ())]
    if augment:
        from siren_ext.attacks.augment import left_out

        problems += left_out(made)
    report_skipped(list(dict.fromkeys(problems)), "file")


def _refuse_unused(method: str, assign: list[str] | None, **given: object) -> None:
    """Refuse options that a method has no use for, also as ``--set``."""
    from siren_ext.personalize.config import WITH_PRIOR, WITH_TOKEN

    ranks = dict.fromkeys(("rank", "alpha", "conv_rank", "conv_alpha"), ("lora",))
    prior = ("class_prompt", "class_images", "class_steps", "class_guidance", "prior_weight")
    words = dict.fromkeys(("token", "token_vectors", "token_start"), WITH_TOKEN)
    users = ranks | dict.fromkeys(prior, WITH_PRIOR) | words
    assigned = {split_assignment(text)[0] for text in assign or ()}
    for name, methods in users.items():
        if method in methods or (given.get(name) is None and name not in assigned):
            continue
        option = f"--set {name}" if name in assigned else f"--{name.replace('_', '-')}"
        raise ConfigError(
            f"{option} is for {' and '.join(methods)}, but the method is {method}. Leave it out, "
            "or choose another --method."
        )


def _training(
    unlearn: float | None, augment: list[str] | None
) -> tuple[type[PersonalizeConfig], Callable[..., Any], dict[str, Any]]:
    """The class of the settings, what trains with them, and settings of its own."""
    if unlearn is not None and augment:
        raise ConfigError("--unlearn and --augment can't be used together. Choose one of them.")
    train: Callable[..., Any]
    if unlearn is not None:
        from siren_ext.attacks.unlearning import UnlearnConfig
        from siren_ext.attacks.unlearning import unlearn as train

        return UnlearnConfig, train, {"isolation_rate": unlearn}
    if augment:
        from siren_ext.attacks.augment import AugmentConfig
        from siren_ext.attacks.augment import augmented as train

        return AugmentConfig, train, {"augment": augment}
    from siren_ext.personalize.config import PersonalizeConfig
    from siren_ext.personalize.run import personalize as train

    return PersonalizeConfig, train, {}


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(
        app,
        "personalize",
        several=True,
        example="siren-ext personalize coated --base pocket --out suspect.safetensors",
    )(personalize_)
