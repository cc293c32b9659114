"""Training sets of which a share was made by a model and the rest is real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from siren_ext.data.dataset import ImageSet, Item
from siren_ext.data.images import read_picture, write_picture
from siren_ext.documents import read_json
from siren_ext.errors import DatasetError
from siren_ext.files import atomic, is_file, sha256_file, write_json

PROVENANCE = "mixture.json"
_CAPTIONLESS = "an image"


def build_mixture(
    generated: ImageSet, real: ImageSet, count: int, share: float, out: Path, *, seed: int = 0
) -> ImageSet:
    """Write a training set of generated and real images, with their captions.

    Parameters
    ----------
    generated, real : ImageSet
        Pictures of a model, and real images.
    count : int
        n, images of the set.
    share : float
        rho, the share of generated ones, from 0 to 1: exactly ``round(share * count)`` of them.
    out : Path
        Folder to write. ``mixture.json`` in it lists where each image comes from; a finished
        mixture of the same images is kept.
    seed : int
        Of the draw, without replacement, and of the order.

    Returns
    -------
    ImageSet
        The images, named by number.

    Raises
    ------
    DatasetError
        If there are too few images of a kind, or the folder holds something else.
    ImageError
        If an image can't be read.
    """
    if not 0 <= share <= 1 or count < 1:
        raise DatasetError(
            f"A set of {count} images with a share of {share:g} is not possible; expected at "
            "least one image, and a share from 0 to 1."
        )
    made = round(share * count)
    rng = np.random.default_rng((seed, 31))
    drawn: list[tuple[str, Item]] = []
    for kind, images, wanted in (("generated", generated, made), ("real", real, count - made)):
        if wanted > len(images):
            raise DatasetError(
                f"There are {len(images)} {kind} images; the mixture needs {wanted}. Give more of "
                "them, or a smaller number of images."
            )
        picked = rng.permutation(len(images))[:wanted]
        drawn += [(kind, images.items[int(row)]) for row in picked]
    rows: list[dict[str, Any]] = []
    for number, place in enumerate(rng.permutation(count)):
        kind, item = drawn[int(place)]
        caption = item.caption or item.class_words or _CAPTIONLESS
        rows.append(
            {
                "file": f"{number:05d}.png",
                "origin": kind,
                "name": item.name,
                "sha256": sha256_file(item.path),
                "caption": caption,
            }
        )
        rows[-1]["path"] = item.path
    _write(out, rows)
    return ImageSet.from_folder(out)


def read_mixture(folder: Path) -> list[dict[str, Any]]:
    """Where each image of a mixture comes from.

    Parameters
    ----------
    folder : Path
        Of :func:`build_mixture`.

    Returns
    -------
    list of dict
        ``file``, ``origin`` (generated or real), ``name``, ``sha256`` and ``caption``.

    Raises
    ------
    DatasetError
        If there is no such list.
    """
    found = read_json(folder / PROVENANCE, error=DatasetError)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DatasetError(f"{folder / PROVENANCE} is not a list of images; delete the folder.")
    return found


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write images, captions and, when all are there, the list."""
    sources = [row.pop("path") for row in rows]
    if is_file(out / PROVENANCE):
        if read_mixture(out) != rows:
            raise DatasetError(
                f"{out} contains another mixture of images. Choose another folder, or delete it."
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    for row, source in zip(rows, sources, strict=True):
        target = out / row["file"]
        write_picture(read_picture(source), target)
        with atomic(target.with_suffix(".txt")) as temporary:
            temporary.write_text(row["caption"], encoding="utf-8")
    write_json(out / PROVENANCE, rows)
