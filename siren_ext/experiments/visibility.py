"""How visible a coating and other marks are on sets of images, beside what a coating should be.

    python -m siren_ext.experiments.visibility --data samples --data FOLDER --out runs/visibility

Marks every image and compares it with the original in full size. Nothing is trained. Stands in for
ratings by people, which the paper asked for (Figure 9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from torch import Tensor

from siren_ext.baselines.base import Protected
from siren_ext.baselines.luo import Luo
from siren_ext.baselines.warp import Warp
from siren_ext.cli.common import command, say, watched
from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import ImageError, MissingExtraError
from siren_ext.experiments.options import StudyCoater
from siren_ext.experiments.pages import table
from siren_ext.experiments.paper_cells import digest
from siren_ext.experiments.rows import write_rows
from siren_ext.experiments.study import coated_set, open_set
from siren_ext.metrics.quality import change_of
from siren_ext.pocket.fidelity import Eff0
from siren_ext.progress import Progress

LOWEST_PSNR = 40.0
"""In dB, what every coated file should have."""
MEAN_COLOUR = 2.0
LARGEST_COLOUR = 3.0
"""Local colour difference that the files of a set should have on average, and at most."""
MARKS: dict[str, Callable[[Tensor], Protected]] = {
    "Luo et al.": lambda images: Luo().protect(images),
    "DIAGNOSIS": lambda images: Warp().protect(images),
}
"""Published marks, as their authors chose the strength."""
HEAD = (
    "set", "mark", "PSNR: mean (lowest)", "SSIM", "colour: mean (largest)", "eff0 distance",
    "as wished",
)  # fmt: skip
Pairs = Iterable[tuple[Tensor, Tensor]]


def changes(pairs: Pairs, network: Eff0 | None = None) -> Iterator[dict[str, float]]:
    """How far each marked image is from its original.

    Parameters
    ----------
    pairs : iterable of (Tensor, Tensor)
        Both 1 x 3 x H x W in [0,1].
    network : Eff0 | None
        For the perceptual distance.

    Yields
    ------
    dict
        ``psnr`` in dB, at most 100; ``ssim``; ``colour``, see
        :func:`siren_ext.metrics.quality.local_de00_p99`; ``eff0``, see
        :meth:`siren_ext.pocket.fidelity.Eff0.distance`, if there is a network.
    """
    for before, after in pairs:
        noise, structure, colour = change_of(before, after)
        found = {
            "psnr": 100.0 if noise is None else min(100.0, noise),
            "ssim": structure,
            "colour": colour,
        }
        yield found | ({"eff0": float(network.distance(before, after))} if network else {})


def summary(found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The figures of a set.

    Parameters
    ----------
    found : sequence of dict
        Of :func:`changes`.

    Returns
    -------
    dict
        Means, ``psnr_lowest``, ``colour_largest`` and ``met``, whether all aims are met.
    """
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    lowest = min(one["psnr"] for one in found)
    largest = max(one["colour"] for one in found)
    met = lowest >= LOWEST_PSNR and means["colour"] <= MEAN_COLOUR and largest <= LARGEST_COLOUR
    return means | {"psnr_lowest": lowest, "colour_largest": largest, "met": met}


def pairs_of(images: ImageSet, coated: ImageSet) -> Pairs:
    """The originals and the marked images, for :func:`changes`.

    Parameters
    ----------
    images, coated : ImageSet
        As many images, in the same order.
    """
    return zip(_read(images), _read(coated), strict=True)


def _coated(
    images: ImageSet, coater: Coater, strength: float, out: Path, progress: Progress
) -> Pairs:
    """The originals and the written files."""
    folder = out / digest(images.hash, coater.fingerprint, strength)
    coated = coated_set(images, coater, folder, progress, strength=strength)
    return pairs_of(images, coated)


def _marked(images: ImageSet, write: Callable[[Tensor], Protected]) -> Pairs:
    """The originals and the images with a published mark."""
    return ((image, write(image).images) for image in _read(images))


def _read(images: ImageSet) -> Iterator[Tensor]:
    return (to_tensor(read_picture(item.path).rgb) for item in images.items)


def _network() -> Eff0 | None:
    try:
        return Eff0()
    except MissingExtraError as error:
        say(f"The eff0 distance is left out: {error}")
        return None


def _line(row: dict[str, Any]) -> list[str]:
    return [
        row["set"],
        row["mark"],
        f"{row['psnr']:.1f} dB ({row['psnr_lowest']:.1f})",
        f"{row['ssim']:.4f}",
        f"{row['colour']:.2f} ({row['colour_largest']:.2f})",
        f"{row['eff0']:.4f}" if "eff0" in row else "",
        "yes" if row["met"] else "no",
    ]


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command(
    app,
    "visibility",
    example="python -m siren_ext.experiments.visibility --data samples --out runs/visibility",
)
def visibility(
    out: Annotated[Path, typer.Option("--out", help="Folder for the coated images.")],
    data: Annotated[list[str], typer.Option("--data", help="Folder, or samples; may be repeated.")],
    coater: StudyCoater = "keyed",
    strength: Annotated[
        list[float] | None, typer.Option("--strength", help="Strength; may be repeated.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Table; by default in OUT.")] = None,
) -> None:
    """Mark sets of images and measure how visible that is."""
    loaded, network = Coater.load(coater_path(coater)), _network()
    strengths, rows = strength or (1.0,), []
    with watched(False) as progress:
        for name in data:
            images, known = open_set(name).checked(progress=progress), Path(name).name
            for item, why in images.problems:
                say(f"{item} is left out: {why}")
            marked: dict[str, Callable[[], Pairs]] = {
                f"coating, strength {one:g}": partial(_coated, images, loaded, one, out, progress)
                for one in strengths
            }
            marked |= {mark: partial(_marked, images, write) for mark, write in MARKS.items()}
            for mark, pairs in marked.items():
                try:
                    found = summary(list(changes(pairs(), network)))
                except ImageError as error:
                    say(f"{known}, {mark}, is left out: {error}")
                    continue
                rows.append({"set": known, "mark": mark, "images": len(images), **found})
                write_rows(rows, csv or out / "visibility.csv", digits=5)
    for line in table(HEAD, [_line(row) for row in rows]).splitlines():
        say(line)
    say(f"Wished: PSNR of {LOWEST_PSNR:g} dB or more; local colour difference of {MEAN_COLOUR:g} "
        f"on average and {LARGEST_COLOUR:g} at most.")  # fmt: skip


if __name__ == "__main__":
    app()
