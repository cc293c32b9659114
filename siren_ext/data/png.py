"""What a PNG can carry so that Pillow, and programs that use it, open it again.

Pillow refuses a PNG whose colour profile has more than 1 MiB, or whose texts have more than 64 MiB
together (``PIL.PngImagePlugin``). Profiles of scanners and printers can be larger.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from siren_ext.data.decode import XMP_KEY, Bytes
from siren_ext.data.extras import NO_EXTRAS, Extras
from siren_ext.data.iptc import PROFILE_KEY
from siren_ext.data.survey import examples
from siren_ext.text import printable

PROFILE_LIMIT = 1 << 20
"""Most bytes of a colour profile, uncompressed."""
TEXT_LIMIT = 32 << 20
"""Most characters of all texts together: half of what Pillow reads."""

# Level 4 compresses photographs about as well as the default of 6, in less time. Looking for runs
# alone halves that time again, and files of photographs and coated images are no larger: they
# hardly repeat anything but single values. Drawings with repeated shapes would be larger.
_USUAL = {"compress_level": 4}
_RUNS = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_SAMPLE = 16  # both are tried on this part of the rows
_LARGER = 1.02
_SIGNATURE_BYTES = 8
_HEADER_END = _SIGNATURE_BYTES + 25  # behind the first chunk
_MOST_FILE_BYTES = 1 << 30


def save_png(
    path: Path,
    pixels: Bytes,
    *,
    text: Mapping[str, str],
    exif: bytes | None,
    icc: bytes | None,
    extras: Extras = NO_EXTRAS,
) -> None:
    """Write a PNG over an existing file.

    Parameters
    ----------
    path : Path
        The file.
    pixels : array
        H x W x 3 or H x W x 4, uint8.
    text : Mapping[str, str]
        Text entries, including XMP.
    exif, icc : bytes | None
        EXIF block and colour profile.
    extras : Extras
        The resolution and chunks on colour; IPTC fields are part of the text.

    Raises
    ------
    OSError, ValueError
        If Pillow or the system refuses to write it.
    """
    entries = PngInfo()
    for key, value in text.items():
        if key == XMP_KEY:  # XMP must be an international text entry
            entries.add_itxt(key, value)
        elif key == PROFILE_KEY:  # where programs look for it: a compressed text
            entries.add_text(key, value, zip=True)
        else:
            entries.add_text(key, value)
    extra: dict[str, Any] = {"exif": exif, "icc_profile": icc, "dpi": extras.dpi}
    extra = {key: value for key, value in extra.items() if value is not None}
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        path, format="PNG", pnginfo=entries, **compression(pixels), **extra
    )
    # a PNG must not have both an sRGB chunk and a profile
    colour = [chunk for chunk in extras.colour if icc is None or chunk[0] != b"sRGB"]
    if colour:
        whole = path.read_bytes()
        chunks = b"".join(_chunk(name, content) for name, content in colour)
        path.write_bytes(whole[:_HEADER_END] + chunks + whole[_HEADER_END:])


def compression(pixels: Bytes) -> dict[str, int]:
    """Choose how a PNG is compressed: in the fast way, unless the file would be larger.

    Parameters
    ----------
    pixels : array
        H x W x 3 or H x W x 4, uint8.

    Returns
    -------
    dict of str to int
        Options of Pillow's ``save``.
    """
    rows = max(1, len(pixels) // _SAMPLE)
    top = (len(pixels) - rows) // 2
    sample = Image.fromarray(np.ascontiguousarray(pixels[top : top + rows]))
    sizes = []
    for options in (_USUAL, _RUNS):
        buffer = io.BytesIO()
        sample.save(buffer, format="PNG", **options)
        sizes.append(buffer.tell())
    return _RUNS if sizes[1] <= _LARGER * sizes[0] else _USUAL


def _chunk(name: bytes, content: bytes) -> bytes:
    checked = name + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def fitting_profile(icc: bytes | None, notes: list[str]) -> bytes | None:
    """The colour profile, if a PNG with it can be read.

    Parameters
    ----------
    icc : bytes | None
        The profile.
    notes : list of str
        Receives a note if it is left out.
    """
    if icc is None or len(icc) <= PROFILE_LIMIT:
        return icc
    notes.append(
        f"A colour profile of {len(icc) / 1e6:.1f} MB was dropped: programs refuse PNG files with "
        "profiles of more than 1 MB. Convert the image to sRGB first to keep its colours."
    )
    return None


def fitting_text(text: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """The text entries that a PNG can carry; the largest are left out first.

    Parameters
    ----------
    text : Mapping[str, str]
        The entries.
    notes : list of str
        Receives a note if some are left out.
    """
    kept, size, left = dict(text), sum(map(len, text.values())), 0
    dropped: list[str] = []
    for key in sorted(text, key=lambda key: -len(text[key])):
        if size - left <= TEXT_LIMIT:
            break
        left += len(kept.pop(key))
        dropped.append(repr(printable(key)[:80]))
    if dropped:
        what, were = ("text", "was") if len(dropped) == 1 else (f"{len(dropped)} texts", "were")
        notes.append(f"The {what} {examples(dropped)} of {left / 1e6:.0f} MB {were} dropped.")
    return kept


def without_profile(stream: IO[bytes]) -> io.BytesIO:
    """A PNG file without its colour profile, which is not decompressed.

    Parameters
    ----------
    stream : binary file
        The PNG, from its first byte. A damaged one is copied as far as its chunks can be followed.

    Raises
    ------
    ValueError
        If the file has more than 1 GiB.
    """
    data = stream.read(_MOST_FILE_BYTES + 1)
    if len(data) > _MOST_FILE_BYTES:
        raise ValueError("the file has more than 1 GiB")
    parts = [data[:_SIGNATURE_BYTES]]
    start = _SIGNATURE_BYTES
    while start < len(data):
        # length, type, content, checksum
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == b"IDAT":  # a profile must come before the pixels
            parts.append(data[start:])
            break
        if data[start + 4 : start + 8] != b"iCCP":
            parts.append(data[start:end])
        start = end
    return io.BytesIO(b"".join(parts))
