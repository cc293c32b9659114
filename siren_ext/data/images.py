"""Reading and writing image files, and resizing images for the networks.

Any file that Pillow can read becomes 8-bit RGB with transparency and metadata. Colour profiles are
kept but not applied, because training programs use the raw pixel values too. All resizing to a
network's input is done here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from siren_ext.data.decode import (
    Bytes,
    is_animated,
    scale_key,
    split_channels,
    text_entries,
    turn,
    upright_exif,
)
from siren_ext.data.extras import NO_EXTRAS, Extras, read_extras
from siren_ext.data.image_files import readable_formats
from siren_ext.data.limits import MAX_PIXELS, check_file, check_size
from siren_ext.data.png import fitting_profile, fitting_text, save_png, without_refused
from siren_ext.errors import ImageError, reason_of
from siren_ext.files import atomic

_REFUSED = "siren_ext: refused chunks"
_STRIP_PIXELS = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image with everything that a faithful copy needs.

    Attributes
    ----------
    rgb : array
        H x W x 3, uint8; raw values, with the EXIF orientation applied.
    alpha : array | None
        H x W, uint8; None if the source has no transparency.
    exif : bytes | None
        EXIF block with orientation 1 and without the embedded thumbnail.
    icc : bytes | None
        Colour profile of the raw RGB values.
    text : dict[str, str]
        PNG text entries, including XMP and, as ``Comment``, the comment of any file.
    format : str
        Pillow's name of the source format.
    notes : tuple[str, ...]
        What could not be kept unchanged, in words for the user.
    extras : Extras
        IPTC fields, resolution and chunks on colour.
    """

    rgb: Bytes
    alpha: Bytes | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    text: dict[str, str] = dataclasses.field(default_factory=dict)
    format: str = "PNG"
    notes: tuple[str, ...] = ()
    extras: Extras = NO_EXTRAS

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


def _image_of(stream: IO[bytes]) -> Image.Image:
    """Open an image; a PNG with a profile or texts that Pillow refuses is opened without them."""
    copy, notes = without_refused(stream)
    stream.seek(0)
    image = Image.open(copy or stream, formats=readable_formats())
    if notes:
        image.info[_REFUSED] = notes
    return image


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; whatever is wrong with it becomes an :class:`ImageError`."""
    name = path.name
    try:
        stored = check_file(path)
        with path.open("rb") as stream, _image_of(stream) as image:
            check_size(name, image.size, max_pixels, stored)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow can read, or is damaged.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name} says that it has more pixels than can be read safely. {error}"
        ) from error
    # Decoders can raise almost any class of error for broken files.
    except Exception as error:
        why = reason_of(error)
        # what plug-ins advise is for people who build them
        why = (why.strip() or type(error).__name__).partition(" Please ")[0].rstrip(".")
        raise ImageError(f"{name} can't be read as an image and may be damaged: {why}.") from error


def picture_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height in an image file's header; decodes nothing.

    Parameters
    ----------
    path : Path
        The file.
    max_pixels : int
        Larger images are refused.

    Raises
    ------
    ImageError
        If the file is missing, empty, damaged, too large or not an image.
    """
    with _opened(Path(path), max_pixels) as image:
        return image.size


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image file of any size and mode, in one of the usual formats.

    Other colour modes and bit depths are converted to 8-bit RGB, and only the first frame of an
    animation is read; a note says so. Nothing is resized.

    Parameters
    ----------
    path : Path
        The file.
    max_pixels : int
        Larger images are refused before decoding, as are those beyond Pillow's own limit (twice
        ``PIL.Image.MAX_IMAGE_PIXELS``).

    Raises
    ------
    ImageError
        If the file is missing, empty, damaged, too large or not an image.
    """
    notes: list[str] = []
    with _opened(Path(path), max_pixels) as image:
        stored = [str(tile[3]) for tile in getattr(image, "tile", ())]
        deep = image.mode.startswith("RGB") and any("16" in mode for mode in stored)
        image.load()
        scale_key(image, stored)
        if deep:
            notes.append("16 bits per channel were reduced to 8.")
        # only after loading, in which Pillow turns a TIFF upright and then removes the tag
        orientation, exif = upright_exif(image, notes)
        text = text_entries(image)
        extras = read_extras(image, Path(path), text, notes)
        rgb, alpha, icc = split_channels(image, notes)
        notes += image.info.get(_REFUSED, ())
        if is_animated(image):
            notes.append("The image has several frames; only the first one was kept.")
        source = image.format or "unknown"
    if orientation != 1:
        rgb = turn(rgb, orientation)
        alpha = None if alpha is None else turn(alpha, orientation)
        if orientation in (5, 6, 7, 8) and extras.dpi:
            extras = dataclasses.replace(extras, dpi=extras.dpi[::-1])
    return Picture(rgb, alpha, exif, icc, text, source, tuple(notes), extras)


def write_picture(picture: Picture, path: Path) -> tuple[str, ...]:
    """Write a PNG with the exact pixels, transparency, EXIF, colour profile and text, atomically.

    The file is read again before it gets its name. Metadata that would make it unreadable is left
    out.

    Parameters
    ----------
    picture : Picture
        The picture.
    path : Path
        The file, ending in ``.png``; an existing one is replaced.

    Returns
    -------
    tuple[str, ...]
        What was left out, in words for the user.

    Raises
    ------
    ImageError
        If the name has another ending, or the file cannot be written or read again.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ImageError(f"{path.name} can't be a PNG; expected a name ending in .png.")
    pixels = picture.rgb
    if picture.alpha is not None:
        pixels = np.dstack((picture.rgb, picture.alpha))
    notes: list[str] = []
    extras, icc = picture.extras, fitting_profile(picture.icc, notes)
    text = fitting_text(extras.text_for_png(picture.text), notes)
    try:
        with atomic(path) as temporary:
            save_png(temporary, pixels, text=text, exif=picture.exif, icc=icc, extras=extras)
            if not _reads_back(pixels, temporary):
                save_png(temporary, pixels, text={}, exif=None, icc=None)
                notes.append(
                    "All metadata was dropped, because the file could not be read with it."
                )
                if not _reads_back(pixels, temporary):
                    raise ImageError(f"{path.name} was written but can't be read again.")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path.name} can't be written: {reason_of(error)}.") from error
    return tuple(notes)


def _reads_back(pixels: Bytes, path: Path) -> bool:
    """Whether a written file can be read, by other programs that use Pillow too, and is exact."""
    try:
        with _opened(path, MAX_PIXELS) as image:
            same = np.array_equal(np.asarray(image), pixels)
            return same and _REFUSED not in image.info
    except ImageError:
        return False


def to_tensor(rgb: Bytes) -> Tensor:
    """Pixels as a tensor.

    Parameters
    ----------
    rgb : array
        H x W x 3, uint8.

    Returns
    -------
    Tensor
        1 x 3 x H x W, float32 in [0,1]; k becomes k/255.

    Raises
    ------
    ImageError
        If the array has another shape or type.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(
            f"The pixels are {rgb.dtype} of shape {rgb.shape}; expected uint8 of shape H x W x 3."
        )
    chw = np.array(rgb.transpose(2, 0, 1), order="C")
    return torch.from_numpy(chw)[None].float().div_(255)


def to_uint8(image: Tensor) -> Bytes:
    """A tensor as pixels, clamped and rounded half to even.

    Parameters
    ----------
    image : Tensor
        3 x H x W or 1 x 3 x H x W in [0,1].

    Returns
    -------
    array
        H x W x 3, uint8.

    Raises
    ------
    ImageError
        If the tensor has another shape.
    """
    shape = tuple(image.shape)
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f"The tensor has shape {shape}; expected 3 x H x W or 1 x 3 x H x W.")
    levels = np.empty((image.shape[1], image.shape[2], 3), np.uint8)
    rows = max(1, _STRIP_PIXELS // max(1, image.shape[2]))  # a photo needs no copy in float32
    for top in range(0, image.shape[1], rows):
        strip = image[:, top : top + rows].detach().float().cpu()
        strip = strip.clamp(0, 1).mul_(255).round_().to(torch.uint8)
        levels[top : top + rows] = strip.permute(1, 2, 0).numpy()
    return levels


def quantise(images: Tensor, *, in_place: bool = False) -> Tensor:
    """Clamp to [0,1] and round to k/255, exactly as a round trip through an 8-bit file does.

    Parameters
    ----------
    images : Tensor
        Any shape.
    in_place : bool
        Change ``images`` itself, to save memory.

    Returns
    -------
    Tensor
        The shape of ``images``.
    """
    clamped = images.clamp_(0, 1) if in_place else images.clamp(0, 1)
    return clamped.mul_(255).round_().div_(255)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resizing, clamped to [0,1]; differentiable.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    height, width : int
        The new size in pixels; images of that size are returned unchanged.

    Returns
    -------
    Tensor
        B x 3 x height x width in [0,1], on the same device and of the same type.
    """
    if images.shape[2:] == (height, width):
        return images
    # antialiasing is not available for half precision on the CPU, nor on Apple's MPS
    work = images.float()
    if work.device.type == "mps":
        work = work.cpu()
    work = F.interpolate(
        work, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return work.clamp(0, 1).to(images)


def square_view(images: Tensor, size: int) -> Tensor:
    """Squash whole images to a square, antialiased bicubic; differentiable.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    size : int
        Side in pixels; images of that size are returned unchanged.

    Returns
    -------
    Tensor
        B x 3 x size x size in [0,1].
    """
    return resize(images, size, size)


def crop_view(images: Tensor, size: int) -> Tensor:
    """Resize the short side and cut out the central square, as training programs do.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    size : int
        Side in pixels.

    Returns
    -------
    Tensor
        B x 3 x size x size in [0,1]; differentiable.
    """
    height, width = images.shape[2:]
    scale = size / min(height, width)
    images = resize(images, max(size, round(height * scale)), max(size, round(width * scale)))
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]
