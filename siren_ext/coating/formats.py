"""File formats of coated images, and what compression leaves of a coating."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from msgspec import UNSET, UnsetType
from PIL import Image
from torch import Tensor

from siren_ext.coating.manifest import CoatConfig, CoatEntry, CoatManifest, Compression
from siren_ext.data.dataset import ImageSet
from siren_ext.data.decode import Bytes
from siren_ext.data.extras import is_lossless_webp
from siren_ext.data.image_files import readable_formats
from siren_ext.data.images import Picture, picture_size, read_picture, to_tensor, write_picture
from siren_ext.data.lossy import LONGEST_SIDE, QUALITY, SUFFIXES, write_lossy
from siren_ext.errors import ImageError
from siren_ext.stats.keyed import Floats, contributions

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater

WEAK = 0.8
"""Share of the coating's effect below which compression is reported."""
WEAKENED = (
    f"Compression weakens the coating: less than {WEAK:.0%} of its effect is left. Use a higher "
    "quality, or PNG."
)
_SMALLEST_EFFECT = 1e-6
_GROWTH, _LARGE = 3, 20_000_000


@dataclass(frozen=True)
class Target:
    """How one image is written.

    Attributes
    ----------
    suffix : str
        Suffix of the file, with a dot.
    quality : int | None
        From 1 to 100; None for files that keep the pixels exactly.
    notes : tuple[str, ...]
        Why it is written in another format than asked for.
    """

    suffix: str = ".png"
    quality: int | None = None
    notes: tuple[str, ...] = ()


def target_of(path: Path, config: CoatConfig) -> Target:
    """Choose format and suffix for an image.

    Parameters
    ----------
    path : Path
        The source.
    config : CoatConfig
        Format and quality.

    Returns
    -------
    Target
        The format asked for, or PNG where that can't hold the image. The source's suffix is kept if
        it fits.

    Raises
    ------
    ImageError
        The source can't be read.
    """
    asked = config.format
    if isinstance(asked, UnsetType) or asked == "png":
        return Target(_suffix(path, "PNG"))
    quality = QUALITY if isinstance(config.quality, UnsetType) else config.quality
    found = _format(path)
    if asked == "keep":
        kind = found if found in SUFFIXES else "PNG"
        exact = kind == "PNG" or (kind == "WEBP" and is_lossless_webp(path))
        return Target(_suffix(path, kind), None if exact else quality)
    kind = asked.upper()
    if max(picture_size(path)) > LONGEST_SIDE[kind]:
        limit = f"{LONGEST_SIDE[kind]:,} pixels per side"
        return Target(_suffix(path, "PNG"), None, (f"Written as PNG: {kind} allows {limit}.",))
    if kind == "JPEG" and found not in ("JPEG", "BMP") and _is_transparent(read_picture(path)):
        note = "Written as PNG: the image has transparency, which JPEG can't store."
        return Target(_suffix(path, "PNG"), None, (note,))
    return Target(_suffix(path, kind), quality)


def _format(path: Path) -> str:
    """Pillow's name of a file's format, by its content."""
    picture_size(path)  # raises for what can't be read
    try:
        with Image.open(path, formats=readable_formats()) as image:
            found = image.format or ""
    except ValueError:  # a PNG with a profile that Pillow refuses
        return "PNG"
    return "JPEG" if found == "MPO" else found


def _is_transparent(picture: Picture) -> bool:
    return picture.alpha is not None and int(picture.alpha.min()) < 255


def _suffix(path: Path, kind: str) -> str:
    """The source's suffix if it stands for the format, in a case that trainers look for."""
    suffix = path.suffix
    if suffix.lower() not in SUFFIXES[kind] or kind == "PNG":
        return SUFFIXES[kind][0]
    return suffix if suffix.isupper() else suffix.lower()


def write_coated(picture: Picture, path: Path, quality: int | None) -> tuple[Bytes, list[str]]:
    """Write a picture in the format of the file's suffix, and read it again.

    Parameters
    ----------
    picture : Picture
        The picture.
    path : Path
        The file.
    quality : int | None
        As in :class:`Target`.

    Returns
    -------
    rgb : array
        H x W x 3, uint8: the pixels as they are in the file.
    notes : list of str
        What was left out.

    Raises
    ------
    ImageError
        The file can't be written or read again.
    """
    if path.suffix.lower() == ".png":
        return picture.rgb, list(write_picture(picture, path))
    return write_lossy(picture, path, quality=quality)


class CompressionMeter:
    """Measures what compression leaves of a coating; may be used by several threads.

    Parameters
    ----------
    coater : Coater
        Scores the images.
    message : Tensor | None
        The message of a keyed coater: k values of -1 or +1.
    """

    def __init__(self, coater: Coater, message: Tensor | None) -> None:
        self._coater, self._message = coater, message
        self._lock = threading.Lock()  # large images need much memory: one at a time

    @torch.no_grad()
    def score(self, rgb: Bytes) -> float:
        """The coater's score of a file's pixels.

        Parameters
        ----------
        rgb : array
            H x W x 3, uint8.

        Raises
        ------
        ImageError
            The coater can't handle the image.
        """
        try:
            with self._lock:
                return float(self._coater.score(self._on_device(rgb))[0].double())
        except RuntimeError as error:
            raise ImageError(f"The coater can't handle the written image: {error}") from error

    def compression(
        self, quality: int, pixels: tuple[Bytes, Bytes, Bytes], scores: tuple[float, float, float]
    ) -> Compression:
        """The record of a coated image's compression.

        Parameters
        ----------
        quality : int
            Quality of the file.
        pixels : tuple[array, array, array]
            Source, coated image, and what is in the file.
        scores : tuple[float, float, float]
            Their scores.

        Returns
        -------
        Compression
            For the manifest.

        Raises
        ------
        ImageError
            The coater can't handle an image.
        """
        clean, coated, written = scores
        if self._message is not None:
            message = self._message.double().numpy()
            # evidence for the message rises where the score falls
            clean, coated, written = (-float((row * message).mean()) for row in self._rows(pixels))
        effect = clean - coated
        kept = None
        if effect > _SMALLEST_EFFECT:  # rounded, so that a record says little about the message
            kept = round((clean - written) / effect, 2)
        return Compression(quality, scores[1], kept)

    @torch.no_grad()
    def _rows(self, pixels: Iterable[Bytes]) -> Iterator[Floats]:
        """Each image's evidence for the bits of a message."""
        for rgb in pixels:
            try:
                with self._lock:
                    features = self._coater.features(self._on_device(rgb)).double().cpu().numpy()
            except RuntimeError as error:
                raise ImageError(f"The coater can't handle the written image: {error}") from error
            yield contributions(features)[0]

    def _on_device(self, rgb: Bytes) -> Tensor:
        return to_tensor(rgb).to(self._coater.device)


def compression_words(entries: Iterable[CoatEntry]) -> str:
    """What compression left of the coatings, in one sentence; "" if nothing was compressed.

    Parameters
    ----------
    entries : Iterable[CoatEntry]
        The written images.
    """
    shares = [
        (entry.compression.kept, entry.source)
        for entry in entries
        if not isinstance(entry.compression, UnsetType) and entry.compression.kept is not None
    ]
    if not shares:
        return ""
    mean = sum(share for share, _ in shares) / len(shares)
    least, name = min(shares)
    weak = sum(share < WEAK for share, _ in shares)
    return (
        f"After compression, {mean:.0%} of the coating's effect is left on average, {least:.0%} in "
        f"{name}; {weak} of {len(shares)} images are below {WEAK:.0%}."
    )


def size_words(manifest: CoatManifest, data: ImageSet, out: Path) -> str:
    """Advice on files that became much larger; "" if they did not.

    Parameters
    ----------
    manifest : CoatManifest
        What was written.
    data : ImageSet
        The sources.
    out : Path
        The output folder.

    Raises
    ------
    OSError
        A file can't be looked up.
    """
    if manifest.config.format not in (UNSET, "png"):
        return ""
    sources = {item.name: item.path for item in data.items}
    before = sum(sources[entry.source].stat().st_size for entry in manifest.entries)
    after = sum((out / entry.output).stat().st_size for entry in manifest.entries)
    if after < _LARGE or after < _GROWTH * before:
        return ""
    return (
        f"The PNG files take {after / 1e6:,.0f} MB and the originals {before / 1e6:,.0f} MB. To "
        "write JPEG and WebP images in their own format, coat into a new folder with --format "
        "keep."
    )
