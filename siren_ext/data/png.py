"""What a PNG can carry so that Pillow, and programs that use it, open it again.

Pillow refuses a PNG whose colour profile or compressed text has more than 1 MiB, or whose texts
have more than 64 MiB together (``PIL.PngImagePlugin``). Profiles of scanners and printers can be
larger, and so can the workflows that image generators store.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, PngImagePlugin
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
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIGNATURE_BYTES = len(_SIGNATURE)
_HEADER_END = _SIGNATURE_BYTES + 25  # behind the first chunk
_MOST_FILE_BYTES = 1 << 30
_MOST_CONTENT = 1 << 28
_MOST_CHUNKS = 1_000_000


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


def without_refused(stream: IO[bytes]) -> tuple[io.BytesIO | None, list[str]]:
    """A PNG file without the profile and the texts for which Pillow refuses it.

    At most 64 MiB are decompressed. A file with more is left as it is, so that Pillow refuses it.

    Parameters
    ----------
    stream : binary file
        Any file, from its first byte; it is at some other place afterwards.

    Returns
    -------
    copy : io.BytesIO | None
        The file without them; None if it is no PNG, or nothing in it is refused.
    notes : list of str
        What was left out, in words for the user.

    Raises
    ------
    ValueError
        If a file with such chunks has more than 1 GiB.
    """
    refused: dict[int, int] = {}
    notes: list[str] = []
    texts: list[tuple[int, int, int, str]] = []
    left = PngImagePlugin.MAX_TEXT_MEMORY
    for name, start, end in _sized_chunks(stream):
        stream.seek(start + 8)
        content = stream.read(min(end - start - 12, _MOST_CONTENT))
        key, packed, size = _sized(name, content, left)
        left -= size if packed else 0
        if left < 0:
            return None, []
        if packed and size > PngImagePlugin.MAX_TEXT_CHUNK:
            refused[start] = end
            what = "A colour profile" if name == b"iCCP" else f"The text {printable(key)[:80]!r}"
            notes.append(f"{what} of more than 1 MB was dropped.")
        elif name != b"iCCP":
            texts.append((size, start, end, key))
    total = sum(size for size, *_ in texts)
    for size, start, end, key in sorted(texts, reverse=True):
        if total <= PngImagePlugin.MAX_TEXT_MEMORY:
            break
        refused[start], total = end, total - size
        notes.append(f"The text {printable(key)[:80]!r} of {size / 1e6:.0f} MB was dropped.")
    if not refused:
        return None, notes
    stream.seek(0)
    data = stream.read(_MOST_FILE_BYTES + 1)
    if len(data) > _MOST_FILE_BYTES:
        raise ValueError("the file has more than 1 GiB")
    parts, begin = [], 0
    for start, end in sorted(refused.items()):
        parts.append(data[begin:start])
        begin = end
    return io.BytesIO(b"".join([*parts, data[begin:]])), notes


def _sized_chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the chunks of a PNG whose size Pillow limits."""
    stream.seek(0)
    if stream.read(_SIGNATURE_BYTES) != _SIGNATURE:
        return
    start = _SIGNATURE_BYTES
    for _ in range(_MOST_CHUNKS):
        stream.seek(start)
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        end = start + 12 + int.from_bytes(head[:4], "big")
        if head[4:] in (b"iCCP", b"tEXt", b"zTXt", b"iTXt"):
            yield head[4:], start, end
        start = end


def _sized(name: bytes, content: bytes, most: int) -> tuple[str, bool, int]:
    """Keyword of a chunk, whether it is compressed, and its size, at most ``most + 1`` if it is."""
    key, _, rest = content.partition(b"\0")
    words = key.decode("latin-1")
    if name == b"tEXt" or (name == b"iTXt" and rest[:1] == b"\0"):
        return words, False, len(rest)
    packed = rest[2:].split(b"\0", 2)[-1] if name == b"iTXt" else rest[1:]
    try:
        return words, True, len(zlib.decompressobj().decompress(packed, most + 1))
    except zlib.error:
        return words, True, 0
