"""Folders of published and unpublished pictures by the same hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 36)) -> Image.Image:
    """Random patches of colour, unlike those of any other seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize(size, Image.Resampling.BILINEAR)


def owned_sets(
    folder: Path, count: int = 20, *, others: int = 0, size: tuple[int, int] = (40, 36)
) -> tuple[Path, Path]:
    """New folders of ``count`` published and ``others`` (or as many) unpublished pictures."""
    made = []
    for name, first, number in (("p", 0, count), ("u", 1000, others or count)):
        place = folder / name
        place.mkdir(parents=True)
        for index in range(number):
            picture(first + index, size).save(place / f"{index}.png")
        made.append(place)
    return made[0], made[1]
