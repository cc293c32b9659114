"""Which files of a folder are images, and in which order."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from siren_ext.errors import ImageError
from siren_ext.files import is_folder, real_path
from siren_ext.text import natural_key

FORMATS = frozenset(
    {"PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "TGA", "PPM", "JPEG2000"}
    | {"AVIF", "HEIF", "JXL"}
)
"""What pictures are published and generated in, by Pillow's names.

Every further decoder is one more that a prepared file may attack. Pillow has about 40, also for
fonts, icons, scientific containers and files that are passed to other programs.
"""
PLUGINS = {"HEIF": "pillow_heif", "AVIF": "pillow_avif", "JXL": "pillow_jxl"}
"""Modules of the extra ``formats``, by the format that they add to Pillow."""

# Pillow 13.0.0 (16 October 2026) is the first release without known faults in the decoders of
# FORMATS. Its release notes list a heap overflow in the JPEG decoder (CVE-2026-112403), reads
# beyond the buffers of TIFF tiles (CVE-2026-112395) and an overflow in the bundled OpenJPEG. Older
# ones are CVE-2026-59204 (JPEG 2000, fixed in 12.3.0) and CVE-2023-4863 (WebP, fixed in 10.0.1).
# It is no minimum, because web UIs pin older releases and it needs Python 3.11.
_SAFE_PILLOW = (13, 0)
_LOG = logging.getLogger(__name__)


def decoder_warning(version: str = PIL.__version__) -> str:
    """What to know about the decoders of a Pillow release; empty if no fault is known.

    Parameters
    ----------
    version : str
        The release; that which is installed by default.
    """
    if tuple(map(int, re.findall(r"\d+", version)[:2])) >= _SAFE_PILLOW:
        return ""
    return (
        f"Warning: Pillow {version} is installed. Releases before 13.0 have known faults that let "
        "a malicious image file crash the program or run code. Update Pillow if you can (pip "
        "install --upgrade Pillow; needs Python 3.11), or use only images from sources that you "
        "trust."
    )


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Those of :data:`FORMATS` that the installed Pillow and its plug-ins decode.

    The first call logs :func:`decoder_warning`.
    """
    if warning := decoder_warning():
        _LOG.warning(warning)
    Image.init()
    for name, module in PLUGINS.items():
        if name not in Image.OPEN:
            with suppress(ImportError, OSError):  # absent, or without the library that it needs
                plugin = importlib.import_module(module)
                getattr(plugin, "register_heif_opener", int)()
    return tuple(name for name in Image.OPEN if name in FORMATS)


def _suffixes() -> dict[str, str]:
    """Format by suffix, of all that can be read."""
    formats = set(readable_formats())
    known = Image.registered_extensions()
    return {suffix: name for suffix, name in known.items() if name in formats}


@functools.cache
def readable_suffixes() -> frozenset[str]:
    """File suffixes of :func:`readable_formats`, in lower case and with a dot."""
    return frozenset(_suffixes())


@functools.cache
def image_suffixes() -> frozenset[str]:
    """File suffixes that do not depend on plug-ins, in lower case and with a dot.

    Commitments list files by these, and have to find the same files on every machine.
    """
    return frozenset(suffix for suffix, name in _suffixes().items() if name not in ("HEIF", "JXL"))


def inside(path: Path, root: Path) -> bool:
    """Whether a path is ``root`` or inside it, after links; False if they lead nowhere."""
    try:
        return real_path(path).is_relative_to(real_path(root))
    except (OSError, ValueError):
        return False


def scan_images(folder: Path, *, deep: bool = False) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Find the image files of a folder by their suffixes.

    Hidden files and folders are skipped. Links to folders, links to files outside the folder, and
    what is no regular file, such as a named pipe, are not opened but reported.

    Parameters
    ----------
    folder : Path
        The folder.
    deep : bool
        Also search its subfolders.

    Returns
    -------
    found : list of Path
        The image files, in natural order.
    refused : list of (Path, str)
        What was left out for safety, and why.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise ImageError(f"{folder} is not a folder; expected a folder of images.")
    found: list[Path] = []
    refused: list[tuple[Path, str]] = []

    def unlisted(error: OSError) -> None:
        refused.append((Path(error.filename), f"can't be listed: {error.strerror}."))

    for current, folders, files in os.walk(folder, onerror=unlisted):
        here = Path(current)
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
                refused.append(
                    (
                        path,
                        "is a link to a place outside the folder; copy the file into the folder.",
                    )
                )
            elif why := unusual(path):
                refused.append((path, why))
            else:
                found.append(path)
    return sorted(found, key=lambda path: path_key(path, folder)), refused


def unusual(path: Path, what: str = "an image file") -> str:
    """Why something can't be opened as a file; "" if it can."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return f"can't be read: {error.strerror}."
    return "" if regular else f"is not a regular file; expected {what}."


def path_key(path: Path, root: Path) -> list[Any]:
    """Sort key of a path below ``root``."""
    return [natural_key(part) for part in path.relative_to(root).parts]


def list_images(folder: Path) -> list[Path]:
    """Image files directly in a folder, in natural order, without links that leave it.

    Raises
    ------
    ImageError
        If ``folder`` is not a folder.
    """
    return scan_images(Path(folder))[0]
