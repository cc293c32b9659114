"""``attack``: do to a folder of images what others might do to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from siren_ext.cli.common import (
    command,
    explain,
    report_notices,
    report_skipped,
    say,
    split_assignment,
    watched,
)
from siren_ext.cli.options import Assignments, Device, Quiet
from siren_ext.errors import ConfigError


def _list(wanted: bool) -> None:
    """Print all attacks and exit."""
    if wanted:
        from siren_ext.attacks.registry import ATTACKS, describe

        for name, attack in ATTACKS.items():
            say(f"{name:<18}{attack.kind:<14}{attack.stands_for}")
            strength = "; takes strength" if "strength" in attack.names else ""
            say(f"{'':<18}{describe(name)}{strength}")
        raise typer.Exit


def attack_(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of images, kohya folder or dataset.toml; or a LoRA or model, as a "
            ".safetensors file or a folder."
        ),
    ],
    names: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="NAME[,NAME...]",
            help="Attacks to apply, in this order; --list shows them all.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for the attacked images, or file or folder for the attacked LoRA or "
            "model.",
        ),
    ],
    assign: Assignments = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Random seed.")] = 0,
    list_: Annotated[
        bool,
        typer.Option("--list", callback=_list, is_eager=True, help="List all attacks."),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Edit every image in a folder, or a model's weights, as other people might do.

    Each image becomes a PNG of the same name with its caption; transparency and metadata are lost.
    '--set strength=0.5' weakens all attacks that have a strength, '--set jpeg.quality=30' is for
    one. Files that can't be read are listed and skipped (exit code 3). Run the same command again
    to resume a stopped run. half and int8 round the weights of a LoRA or a whole model; all others
    are for images.
    """
    from siren_ext.attacks.apply import handle_folder, steps_of
    from siren_ext.attacks.weights import KNOWN, attack_weights
    from siren_ext.coating.layouts import DATASET_TOML
    from siren_ext.data.dataset import ImageSet
    from siren_ext.devices import pick_device

    chosen = [name.strip() for name in names.split(",") if name.strip()]
    given = dict(_setting(text, chosen) for text in assign or ())
    if data.suffix.lower() == ".safetensors" or set(chosen) & set(KNOWN):
        if data.suffix.lower() == ".safetensors" != out.suffix:
            raise ConfigError(
                f"--out is {out.name}; expected a file name that ends with .safetensors, because "
                f"{data.name} is such a file."
            )
        with watched(quiet) as progress:
            count = attack_weights(data, out, chosen, given, progress)
        say(f"{count} tensor{'' if count == 1 else 's'} changed ({', then '.join(chosen)}): {out}")
        return
    steps = steps_of(chosen, given)
    images = ImageSet.open(data)
    with watched(quiet) as progress:
        made = handle_folder(
            images, out, steps, seed=seed, device=pick_device(device), progress=progress
        )
    done = ", then ".join(step.name for step in steps) or "unchanged"
    say(f"{len(made)} image{'' if len(made) == 1 else 's'} written ({done}): {out}")
    if (out / DATASET_TOML).is_file():
        explain(
            f"Class words and repeats are in its {DATASET_TOML}; give that file to the "
            "training program."
        )
    report_notices(images.notices)
    report_skipped(made.problems, "file")


def _setting(text: str, chosen: list[str]) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE`` or ``ATTACK.NAME=VALUE``."""
    from siren_ext.attacks.attack import Parameter
    from siren_ext.attacks.registry import ATTACKS

    name = text.partition("=")[0].strip().rpartition(".")[0]
    key, value = split_assignment(text.strip().removeprefix(f"{name}."))
    known = [
        ATTACKS[one].parameters[key]
        for one in ([name] if name else chosen)
        if one in ATTACKS and key in ATTACKS[one].parameters
    ]
    kind = known[0] if known else Parameter(None)
    return f"{name}.{key}" if name else key, kind.from_text(value)


def register(app: typer.Typer) -> None:
    """Add the command.

    Parameters
    ----------
    app : typer.Typer
        the program.
    """
    command(app, "attack", example="siren-ext attack coated --with jpeg,blur --out attacked")(
        attack_
    )
