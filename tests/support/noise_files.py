"""Files of random pixels, and what lies in a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(8)


def noise(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 4)
    image = Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))
    image.convert(mode).save(path)
    return path


def noise_folder(folder: Path, count: int, seed: int, level: int) -> Path:
    """A new folder of pictures whose values lie below ``level``: the lower, the darker."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, level, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def files(folder: Path) -> dict[str, int]:
    """The files below a folder with their times, to see which were written again."""
    return {
        p.relative_to(folder).as_posix(): p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.is_file()
    }


def largest_difference(first: Path, second: Path) -> int:
    """The largest difference of two pictures of one size, in levels of 0 to 255."""
    pixels = [np.asarray(Image.open(path)).astype(np.int16) for path in (first, second)]
    return int(np.abs(pixels[0] - pixels[1]).max())
