"""The bundled images: their folder, and as an image set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet


def sample_folder() -> Path:
    """The folder of the bundled images (``name.png``, RGB, 256 px) and captions (``name.txt``)."""
    return Path(__file__).resolve().parent / "images"


def sample_set() -> ImageSet:
    """The bundled images as an image set."""
    from siren_ext.data.dataset import ImageSet

    return ImageSet.from_folder(sample_folder())
