"""Turn an open Pillow image into 8-bit colour, transparency and the metadata to keep."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siren_ext.text import printable

Bytes = NDArray[np.uint8]

ORIENTATION = 0x0112
XMP_KEY = "XML:com.adobe.xmp"
# TIFF tags that describe the layout of the source file and would be wrong in the copy.
STRUCTURAL_TAGS = frozenset(
    {*range(254, 260), 262, 266, 273, 277, 278, 279, 284, 297, 301, 317, 320}
    | {*range(322, 326), 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}
)


_EXIF_IFD, _GPS_IFD, _MAKER_NOTE, _JPEG_START = 0x8769, 0x8825, 0x927C, b"\xff\xd8\xff"


class _Kept(str):
    """A text that is written with the bytes with which Pillow read it."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        try:
            return super().encode("latin-1")
        except UnicodeEncodeError:  # not read by Pillow
            return super().encode("utf-8", "replace")


def exif_bytes(exif: Image.Exif) -> bytes:
    """The EXIF block, with texts as they were read.

    The standard allows ASCII alone, and cameras and programs write UTF-8 all the same. Pillow reads
    any byte, but writes "?" in place of what is not ASCII.

    Parameters
    ----------
    exif : PIL.Image.Exif
        The entries.
    """
    tables: list[Any] = [exif]
    for tag in {_EXIF_IFD, _GPS_IFD} & set(exif):
        own = exif[tag]
        tables.append(own if isinstance(own, dict) else exif.get_ifd(tag))
    for table in tables:
        for tag, value in list(table.items()):
            if isinstance(value, str):
                table[tag] = _Kept(value)
    return exif.tobytes()


def is_animated(image: Image.Image) -> bool:
    """Whether a file has more than one frame."""
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the second frame is broken, which does not affect the first
        return True


def upright_exif(image: Image.Image, notes: list[str]) -> tuple[int, bytes | None]:
    """EXIF orientation of an image, and its EXIF block for an upright copy.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, already loaded.
    notes : list of str
        Receives a note if the block is malformed.

    Returns
    -------
    orientation : int
        From 1 to 8.
    exif : bytes | None
        The block with orientation 1; None if there is none.
    """
    try:
        exif = image.getexif()
        if image.format == "TIFF":
            for tag in STRUCTURAL_TAGS & set(exif):
                del exif[tag]
        found = exif.get(ORIENTATION, 1)
        orientation = found if found in range(1, 9) else 1
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        shot = exif.get_ifd(_EXIF_IFD) if _EXIF_IFD in exif else {}
        if isinstance(own := shot.get(_MAKER_NOTE), bytes) and _JPEG_START in own:
            del shot[_MAKER_NOTE]
            notes.append(
                "The camera maker's own EXIF data were dropped, because they contain a "
                "preview of the image."
            )
        return int(orientation), exif_bytes(exif) if len(exif) else None
    except Exception:  # malformed EXIF can raise almost anything
        notes.append("The EXIF block is malformed and was dropped.")
        return 1, None


def text_entries(image: Image.Image) -> dict[str, str]:
    """PNG text and XMP; the orientation in XMP is set to 1, because some readers use it."""
    entries = getattr(image, "text", None)
    text = {str(k): str(v) for k, v in entries.items()} if isinstance(entries, dict) else {}
    xmp = image.info.get("xmp")
    if XMP_KEY not in text and isinstance(xmp, bytes):
        text[XMP_KEY] = xmp.decode("utf-8", "replace").rstrip("\0")
    if XMP_KEY in text:
        text[XMP_KEY] = upright_xmp(text[XMP_KEY])
    return text


def upright_xmp(packet: str) -> str:
    """XMP for an upright copy: its orientation is 1."""
    return re.sub(r"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)\d", r"\g<1>1", packet)


def turn(array: Bytes, orientation: int) -> Bytes:
    """Turn an array upright.

    Parameters
    ----------
    array : array
        H x W or H x W x C, uint8.
    orientation : int
        The EXIF orientation, from 1 to 8.
    """
    if orientation in (5, 6, 7, 8):
        array = np.swapaxes(array, 0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)


def scale_key(image: Image.Image, stored: Sequence[str]) -> None:
    """Bring the transparent colour of a PNG to the depth to which Pillow decodes the pixels.

    Pillow leaves it as it is in the file. The transparency of grey of up to 4 bits would be lost,
    and with 16 bits per channel other pixels could become transparent.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, already loaded; its ``info`` is changed.
    stored : Sequence[str]
        How the pixels are stored, as Pillow calls it, such as ``L;4``.
    """
    key = image.info.get("transparency")
    for mode, bits in (("1", 1), ("L;2", 2), ("L;4", 4)):
        if mode in stored and isinstance(key, int) and key < 1 << bits:
            image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    if "RGB;16B" in stored and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)


def split_channels(
    image: Image.Image, notes: list[str]
) -> tuple[Bytes, Bytes | None, bytes | None]:
    """Convert an image of any mode to 8-bit RGB.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, already loaded.
    notes : list of str
        Receives a note on every loss.

    Returns
    -------
    rgb : array
        H x W x 3, uint8.
    alpha : array | None
        H x W, uint8; None without transparency.
    icc : bytes | None
        The colour profile, if it describes the RGB values.
    """
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
    if mode == "LAB":
        notes.append("LAB was converted to sRGB.")
        return np.array(image.convert("RGB")), None, None
    return np.array(image.convert("RGB")), None, _fitting_profile(icc, notes)


def _fitting_profile(icc: bytes | None, notes: list[str]) -> bytes | None:
    """The profile if it describes RGB values; bytes 16 to 19 are its colour space (ICC.1)."""
    if icc is None or (len(icc) >= 128 and icc[36:40] == b"acsp" and icc[16:20] == b"RGB "):
        return icc
    space = printable(icc[16:20].decode("latin-1").strip()) if len(icc) >= 128 else "malformed"
    notes.append(f"A colour profile that is not for RGB ({space}) was dropped.")
    return None


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """RGB by the colour profile if possible, otherwise by Pillow's simple formula."""
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
            notes.append("The CMYK colour profile can't be used and was dropped.")
        else:
            if converted is not None:
                notes.append("CMYK was converted to sRGB through its colour profile.")
                return converted
    notes.append("CMYK was converted to RGB without a colour profile.")
    return image.convert("RGB")


def _eight_bit(image: Image.Image, notes: list[str]) -> tuple[Bytes, Bytes | None]:
    """Grey values of more than 8 bits as H x W uint8, and the transparency of a PNG's key value."""
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
