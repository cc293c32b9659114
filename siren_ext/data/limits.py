"""Which picture files are opened and decoded: regular files whose pixels fit into memory."""

from __future__ import annotations

import stat
from pathlib import Path

from siren_ext.errors import ImageError

MAX_PIXELS = 200_000_000
MAX_SIDE = 65_535
"""Longest side in pixels; that of a JPEG."""
MAX_ASPECT = 100
"""Longest side by shortest. Training fits the short side to the model, which for a strip of 1 by
1,000,000 pixels took 49 GB."""
MAX_PACKED = 2000
"""Most pixels for each byte of a file of more than 20 million pixels. An even colour has 343 as an
RGB file of PNG; a header of a few bytes can claim any number and make the decoder take 1 GB."""
_ALWAYS = 20_000_000


def check_file(path: Path) -> int:
    """Refuse folders, devices and empty files; returns the size in bytes.

    Raises
    ------
    ImageError
        If the file is one of these.
    OSError
        If it can't be looked up.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path.name} is not a regular file; expected an image file.")
    if status.st_size == 0:
        raise ImageError(f"{path.name} is empty; expected an image file.")
    return status.st_size


def check_size(name: str, size: tuple[int, int], max_pixels: int, stored: int) -> None:
    """Refuse a picture that is too large to decode, by what its header claims.

    Parameters
    ----------
    name : str
        The file's name.
    size : tuple of int
        Width and height in pixels.
    max_pixels : int
        Most pixels.
    stored : int
        Bytes of the file.

    Raises
    ------
    ImageError
        If there are more pixels, a side is longer than :data:`MAX_SIDE` or :data:`MAX_ASPECT` times
        the other, or the file has too few bytes for so many pixels.
    """
    width, height = size
    pixels = width * height
    if pixels > max_pixels:
        raise ImageError(
            f"{name} says that it has {width}x{height} pixels; expected at most {max_pixels:,} in "
            "all. Shrink it first."
        )
    if max(size) > MAX_SIDE or max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {width}x{height} pixels; expected sides of at most {MAX_SIDE:,} pixels, "
            f"with the longer side at most {MAX_ASPECT} times the shorter one. Crop it or cut it "
            "into pieces."
        )
    if pixels > max(_ALWAYS, MAX_PACKED * stored):
        raise ImageError(
            f"{name} says that it has {width}x{height} pixels in {stored:,} bytes, which is too "
            "few for a real picture; the file is damaged or was made to use up memory. Get the "
            "file again, or save the picture at a smaller size."
        )
