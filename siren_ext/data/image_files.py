"""Which files of a folder are images, in which order, and how their names are shown safely."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from PIL import Image

from siren_ext.errors import ImageError
from siren_ext.text import natural_key

# EPS and WMF hand the file to another program; the others are containers that Pillow can't decode.
REFUSED_FORMATS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Names of the formats that this Pillow decodes by itself."""
    Image.init()
    return tuple(name for name in Image.OPEN if name not in REFUSED_FORMATS)


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Lower-case file suffixes, with dot, of :func:`readable_formats`."""
    formats = set(readable_formats())
    suffixes = Image.registered_extensions()
    return frozenset(suffix for suffix, name in suffixes.items() if name in formats)


def inside(path: Path, root: Path) -> bool:
    """Whether ``path``, links followed, lies in ``root`` or is it."""
    return path.resolve().is_relative_to(root.resolve())


def scan_images(folder: Path, *, deep: bool = False) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Image files of a folder in natural order, and what was left out for safety and why.

    By suffix; hidden files and folders are passed over. A link to a file outside the folder, or
    to a folder, is not followed but told.

    Parameters
    ----------
    folder : Path
        where to look.
    deep : bool
        also in its subfolders.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder; expected a folder of images.")
    found: list[Path] = []
    refused: list[tuple[Path, str]] = []

    def unlisted(error: OSError) -> None:
        refused.append((Path(error.filename), f"can't be listed: {error.strerror}."))

    for place, folders, files in os.walk(folder, onerror=unlisted):
        here = Path(place)
        refused += [
            (here / name, "is a link to a folder; links to folders are not followed.")
            for name in folders
            if deep and not name.startswith(".") and (here / name).is_symlink()
        ]
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        for name in files:
            path = here / name
            if name.startswith(".") or path.suffix.lower() not in image_suffixes():
                continue
            if path.is_symlink() and not inside(path, folder):
                refused.append((path, "is a link that leaves the folder; copy the file in."))
            else:
                found.append(path)
    return sorted(found, key=lambda path: _path_key(path, folder)), refused


def _path_key(path: Path, root: Path) -> list[Any]:
    return [natural_key(part) for part in path.relative_to(root).parts]


def list_images(folder: Path) -> list[Path]:
    """Image files directly in a folder, natural order, none that a link leads outside.

    Raises
    ------
    ImageError
        ``folder`` is not a folder.
    """
    return scan_images(Path(folder))[0]
