"""Pictures in and out: any file that Pillow reads becomes 8-bit RGB plus what must be kept.

Raw pixel values are used as they stand, because that is what trainers read; a colour profile is
carried along, not applied. Resizing to a network's view also lives here, and nowhere else.
"""

from __future__ import annotations

import dataclasses
import io
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from siren_ext.data.image_files import list_images, readable_formats
from siren_ext.errors import ImageError
from siren_ext.files import atomic
from siren_ext.text import printable

__all__ = [
    "Picture",
    "crop_view",
    "list_images",
    "picture_size",
    "quantise",
    "read_picture",
    "square_view",
    "to_tensor",
    "to_uint8",
    "write_picture",
]

Bytes = NDArray[np.uint8]

MAX_PIXELS = 200_000_000
ORIENTATION = 0x0112
XMP_KEY = "XML:com.adobe.xmp"
# TIFF tags that describe the layout of the source file and would be false in the copy.
STRUCTURAL_TAGS = frozenset(
    {*range(254, 260), 262, 266, 273, 277, 278, 279, 284, 297, 301, 317, 320}
    | {*range(322, 326), 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}
)
# 6 is the middle ground: 4 packs a photograph as well as 6 and takes about 60 % of its time.
PNG_LEVEL = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A decoded image with everything that a faithful copy needs.

    Attributes
    ----------
    rgb : Bytes
        H x W x 3 uint8, upright (the EXIF orientation is applied), raw values.
    alpha : Bytes | None
        H x W uint8, or None when the source has no transparency.
    exif : bytes | None
        EXIF block with orientation 1 and without the embedded thumbnail.
    icc : bytes | None
        RGB colour profile that the raw values refer to.
    text : dict[str, str]
        PNG text entries, XMP among them.
    format : str
        Pillow's name of the source format.
    notes : tuple[str, ...]
        what could not be kept as it was, in words.
    """

    rgb: Bytes
    alpha: Bytes | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    text: dict[str, str] = dataclasses.field(default_factory=dict)
    format: str = "PNG"
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


def _check_file(path: Path) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path.name} is not a regular file; expected an image file.")
    if status.st_size == 0:
        raise ImageError(f"{path.name} is empty; expected an image file.")


def _check_pixels(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{path.name} claims {width}x{height} pixels; at most {max_pixels:,} are "
            "read. Shrink it first."
        )


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image; every way in which it can be bad becomes an :class:`ImageError`."""
    name = path.name
    try:
        _check_file(path)
        with path.open("rb") as stream, Image.open(stream, formats=readable_formats()) as image:
            _check_pixels(path, image.size, max_pixels)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name} is not an image that Pillow can read, or is damaged.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} claims more pixels than can be read safely. {error}") from error
    # Decoders answer to broken files with errors of nearly every class.
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        why = printable(why or type(error).__name__).rstrip(".")
        raise ImageError(f"{name} can't be read as an image: {why}.") from error


def picture_size(path: Path, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height as stored in the header, not decoded; raises :class:`ImageError`."""
    with _opened(Path(path), max_pixels) as image:
        return image.size


def read_picture(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image file of any size, mode and format that Pillow reads by itself.

    Deeper or other colour modes become 8-bit RGB; of an animation the first frame is taken; both
    leave a note. Nothing is resized.

    Parameters
    ----------
    path : Path
        the file.
    max_pixels : int
        larger ones are refused before decoding, as are those beyond Pillow's own
        limit (twice ``PIL.Image.MAX_IMAGE_PIXELS``).

    Raises
    ------
    ImageError
        the file is missing, empty, damaged, no image, or too large; names the file.
    """
    notes: list[str] = []
    with _opened(Path(path), max_pixels) as image:
        tiles = getattr(image, "tile", ()) if image.mode.startswith("RGB") else ()
        deep = any("16" in str(tile[3]) for tile in tiles)
        image.load()
        if deep:
            notes.append("16 bits per channel were reduced to 8.")
        # After loading: Pillow turns a TIFF upright by itself and then drops the tag.
        orientation, exif = _upright_exif(image, notes)
        text = _text_entries(image)
        rgb, alpha, icc = _split(image, notes)
        if _is_animated(image):
            notes.append("Of several frames only the first was kept.")
        source = image.format or "unknown"
    if orientation != 1:
        rgb = _turn(rgb, orientation)
        alpha = None if alpha is None else _turn(alpha, orientation)
    return Picture(rgb, alpha, exif, icc, text, source, tuple(notes))


def _is_animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a broken second frame does not spoil the first
        return True


def _upright_exif(image: Image.Image, notes: list[str]) -> tuple[int, bytes | None]:
    """Orientation (1 to 8) and the EXIF block to write, with orientation 1."""
    try:
        exif = image.getexif()
        if image.format == "TIFF":
            for tag in STRUCTURAL_TAGS & set(exif):
                del exif[tag]
        found = exif.get(ORIENTATION, 1)
        orientation = found if found in range(1, 9) else 1
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        return int(orientation), exif.tobytes() if len(exif) else None
    except Exception:  # malformed EXIF raises nearly anything
        notes.append("The EXIF block is malformed and was dropped.")
        return 1, None


def _text_entries(image: Image.Image) -> dict[str, str]:
    """PNG text and XMP; the orientation inside XMP is reset, as readers fall back on it."""
    entries = getattr(image, "text", None)
    text = {str(k): str(v) for k, v in entries.items()} if isinstance(entries, dict) else {}
    xmp = image.info.get("xmp")
    if XMP_KEY not in text and isinstance(xmp, bytes):
        text[XMP_KEY] = xmp.decode("utf-8", "replace").rstrip("\0")
    if XMP_KEY in text:
        text[XMP_KEY] = re.sub(r"(tiff:Orientation(?:=[\"']|>))\d", r"\g<1>1", text[XMP_KEY])
    return text


def _turn(array: Bytes, orientation: int) -> Bytes:
    """Apply an EXIF orientation to H x W (x C)."""
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def _split(image: Image.Image, notes: list[str]) -> tuple[Bytes, Bytes | None, bytes | None]:
    """Colour, transparency and the profile that still fits the colour."""
    icc = image.info.get("icc_profile") or None
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        grey, alpha = _eight_bit(image, notes)
        return np.repeat(grey[:, :, None], 3, axis=2), alpha, _fitting_profile(icc, notes)
    if mode == "CMYK":
        return np.array(_cmyk_to_rgb(image, icc, notes)), None, None
    palette = getattr(image, "palette", None)
    if (
        mode in ("RGBA", "LA", "PA", "RGBa", "La")
        or "transparency" in image.info
        or (mode == "P" and palette is not None and palette.mode == "RGBA")
    ):
        whole = np.array((image.convert("LA") if mode == "La" else image).convert("RGBA"))
        colour = np.ascontiguousarray(whole[:, :, :3])
        return colour, np.ascontiguousarray(whole[:, :, 3]), _fitting_profile(icc, notes)
    return np.array(image.convert("RGB")), None, _fitting_profile(icc, notes)


def _fitting_profile(icc: bytes | None, notes: list[str]) -> bytes | None:
    """The profile if it describes RGB values; colour space is at bytes 16-19 (ICC.1, 7.2.6)."""
    if icc is None or (len(icc) >= 128 and icc[36:40] == b"acsp" and icc[16:20] == b"RGB "):
        return icc
    space = printable(icc[16:20].decode("latin-1").strip()) if len(icc) >= 128 else "malformed"
    notes.append(f"A colour profile that is not for RGB ({space}) was dropped.")
    return None


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    if icc is not None:
        from PIL import ImageCms

        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(icc)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
            notes.append("The CMYK colour profile is unusable and was dropped.")
        else:
            if converted is not None:
                notes.append("CMYK was converted to sRGB through its colour profile.")
                return converted
    notes.append("CMYK was converted to RGB without a colour profile.")
    return image.convert("RGB")


def _eight_bit(image: Image.Image, notes: list[str]) -> tuple[Bytes, Bytes | None]:
    """Deep grey values to H x W uint8, and the transparency of a PNG's transparent value."""
    raw: NDArray[Any] = np.asarray(image)
    values = np.nan_to_num(raw.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if image.mode != "F" and low >= 0 and high <= 65535:
        grey, how = values / 257, "16-bit grey was reduced to 8 bits"
    elif image.mode == "F" and low >= 0 and high <= 1:
        grey, how = values * 255, "Grey values from 0 to 1 were reduced to 8 bits"
    elif image.mode == "F" and low >= 0 and high <= 255:
        grey, how = values, "Floating-point grey was rounded to 8 bits"
    else:
        grey = (values - low) * (255 / max(high - low, 1e-12))
        how = f"Grey values from {low:g} to {high:g} were stretched to 8 bits"
    notes.append(how + ".")
    clear = image.info.get("transparency")
    alpha = np.where(raw == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    return np.rint(grey).clip(0, 255).astype(np.uint8), alpha


def write_picture(picture: Picture, path: Path) -> None:
    """Write a PNG with the exact pixels, alpha, EXIF, colour profile and text; never half a file.

    Raises
    ------
    ImageError
        the name does not end in ``.png``, or the file can't be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ImageError(f"{path.name} would be a PNG; expected a name ending in .png.")
    pixels = picture.rgb
    if picture.alpha is not None:
        pixels = np.dstack((picture.rgb, picture.alpha))
    entries = PngInfo()
    for key, value in picture.text.items():
        if key == XMP_KEY:  # the one entry that must be an international one
            entries.add_itxt(key, value)
        else:
            entries.add_text(key, value)
    extra: dict[str, Any] = {"exif": picture.exif, "icc_profile": picture.icc}
    extra = {key: value for key, value in extra.items() if value is not None}
    try:
        with atomic(path) as temporary:
            Image.fromarray(np.ascontiguousarray(pixels)).save(
                temporary, format="PNG", pnginfo=entries, compress_level=PNG_LEVEL, **extra
            )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path.name} can't be written: {why}.") from error


def to_tensor(rgb: Bytes) -> Tensor:
    """H x W x 3 uint8 to 1 x 3 x H x W float32 in [0,1] (k to k/255)."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ImageError(f"Found {rgb.dtype} pixels of shape {rgb.shape}; expected HxWx3 uint8.")
    chw = np.array(rgb.transpose(2, 0, 1), order="C")
    return torch.from_numpy(chw)[None].float().div_(255)


def to_uint8(image: Tensor) -> Bytes:
    """3 x H x W or 1 x 3 x H x W in [0,1] to H x W x 3 uint8, clamped, rounded half to even."""
    shape = tuple(image.shape)
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f"Found a tensor of shape {shape}; expected 3xHxW or 1x3xHxW.")
    levels = image.detach().float().cpu().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def quantise(images: Tensor, *, in_place: bool = False) -> Tensor:
    """Clamp to [0,1] and round to k/255: exactly what is read back from the 8-bit file."""
    clamped = images.clamp_(0, 1) if in_place else images.clamp(0, 1)
    return clamped.mul_(255).round_().div_(255)


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    if images.shape[2:] == (height, width):
        return images
    # The antialiased kernel exists neither for half precision on the CPU nor for Apple's MPS.
    work = images.float()
    if work.device.type == "mps":
        work = work.cpu()
    work = F.interpolate(
        work, size=(height, width), mode="bicubic", align_corners=False, antialias=True
    )
    return work.clamp(0, 1).to(images)


def square_view(images: Tensor, size: int) -> Tensor:
    """The whole image squashed to a square working view: B3HW to B x 3 x size x size.

    Antialiased bicubic, clamped to [0,1], differentiable; images of that size come back unchanged.
    """
    return _resize(images, size, size)


def crop_view(images: Tensor, size: int) -> Tensor:
    """What trainers see: short side resized to ``size``, then the central square; B3HW."""
    height, width = images.shape[2:]
    scale = size / min(height, width)
    images = _resize(images, max(size, round(height * scale)), max(size, round(width * scale)))
    top, left = (images.shape[2] - size) // 2, (images.shape[3] - size) // 2
    return images[:, :, top : top + size, left : left + size]
