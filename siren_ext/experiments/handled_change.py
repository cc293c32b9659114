"""What ordinary handling leaves of a coating that a model could learn, before any training.

A model learns what the changes of many images have in common. So the mean change of a set, coated
images minus clean ones, is compared before and after both had the same handling. If it only got
weaker, then no other way to read it gets that back; if it changed its shape, it has to be read
along the new shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from siren_ext.attacks.apply import Step, handle_folder
from siren_ext.cli.common import command, say, watched
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import ConfigError
from siren_ext.experiments.layout import open_log
from siren_ext.experiments.options import StudyCoater, StudyImages
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import coated_set, open_set

HANDLING = (
    Step("crop"),  # to 75-100 % of each side
    Step("mirror"),
    Step("jpeg", {"quality": 85}),
)
"""What happens to all files before training, in the studies of evidence from a model's file."""
WAYS: dict[str, tuple[Step, ...]] = {
    "nothing": (), **{step.name: (step,) for step in HANDLING}, "all": HANDLING,
}  # fmt: skip
"""Each handling alone, and all together."""
SIDE = 64
_COPIES = 256


def mean_change(clean: ImageSet, coated: ImageSet) -> Tensor:
    """What coating changes on average, 3 x 64 x 64.

    Parameters
    ----------
    clean, coated : ImageSet
        The same images.
    """
    total = torch.zeros(3, SIDE, SIDE)
    for before, after in zip(clean.tensors(SIDE), coated.tensors(SIDE), strict=True):
        total += (after - before)[0]
    return total / len(clean)


def compared(before: Tensor, after: Tensor) -> dict[str, float]:
    """How strong and how alike a mean change still is.

    Parameters
    ----------
    before, after : Tensor
        Mean changes.

    Returns
    -------
    dict
        ``strength``, as a share of that before, and ``correlation``.
    """
    if not float(before.norm()):
        raise ConfigError("These images have no change in common.")
    product = float((before * after).sum())
    length = float(after.norm())
    correlation = product / (length * float(before.norm())) if length else 0.0
    return {"strength": length / float(before.norm()), "correlation": correlation}


def _small(images: ImageSet, folder: Path) -> ImageSet:
    """Copies of equal size and with equal names, because handling depends on the name."""
    for number, view in enumerate(images.tensors(_COPIES)):
        if not (target := folder / f"{number:04d}.png").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_picture(Picture(to_uint8(view)), target)
    return ImageSet.open(folder)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "handled_change",
    example="python -m siren_ext.experiments.handled_change --out runs/handled_change",
)
def handled_change(
    out: Annotated[Path, typer.Option("--out", help="Folder for the images.")],
    data: StudyImages = "samples",
    coater: StudyCoater = "keyed",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Random handlings.")] = 3,
    csv: Annotated[Path | None, typer.Option("--csv", help="Table; by default in OUT.")] = None,
) -> None:
    """Handle a set before and after it is coated, and compare what coating changes on average."""
    images, loaded = open_set(data), Coater.load(coater_path(coater))
    open_log(out, {"study": "handled change", "data": images.hash, "coater": loaded.fingerprint})
    known, rows = images.name, []
    with watched(False) as progress:
        coated = coated_set(images, loaded, out / "coated", progress)
        images, coated = _small(images, out / "small"), _small(coated, out / "small_coated")
        whole = mean_change(images, coated)
        for name, steps in WAYS.items():
            found = []
            for seed in range(seeds if steps else 1):
                folder = out / f"{name}_{seed}"
                before, after = (
                    handle_folder(one, folder / kind, steps, seed=seed) if steps else one
                    for kind, one in (("clean", images), ("coated", coated))
                )
                found.append(compared(whole, mean_change(before, after)))
            means = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            rows.append({"set": known, "handling": name, "seeds": len(found), **means})
            said = f"{means['strength']:.2f} of the mean change, correlation"
            say(f"{name}: {said} {means['correlation']:.3f}")
    write_rows(rows, csv or out / "handled_change.csv")


if __name__ == "__main__":
    app()
