"""What a file carries beside pixels, EXIF, profile and text: IPTC, resolution, comments, colour.

What can't be kept is reported in notes of a fixed wording, so that callers can count the files.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from PIL import Image

from siren_ext.data.decode import XMP_KEY, upright_xmp
from siren_ext.data.iptc import (
    PROFILE_KEY,
    from_profile,
    kept_resources,
    raw_profile,
    resources_of,
    to_profile,
)
from siren_ext.text import printable

COMMENT_KEY = "Comment"
"""The PNG text for a file's comment."""
COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""PNG chunks that say what the colour values mean."""

# kept, part of the pixels, or without meaning for a copy of one frame
_KNOWN_CHUNKS = frozenset(
    b"IHDR PLTE IDAT tRNS bKGD hIST sBIT sPLT tIME acTL fcTL fdAT iDOT pHYs iCCP eXIf tEXt zTXt "
    b"iTXt caBX".split()
) | set(COLOUR_CHUNKS)
_KNOWN_SEGMENTS = frozenset({"COM", "APP0", "APP1", "APP2", "APP12", "APP13", "APP14"})
_PNG_START, _MOST_CHUNKS = 8, 1_000_000
_LARGEST_COLOUR_CHUNK = 64
_JPEG_END, _LONGEST_FILL = b"\xff\xd9", 1 << 16
_MOST_DPI = 1e6
_TIFF_XMP, _X_RESOLUTION, _TIFF_IPTC, _TIFF_PHOTOSHOP, _TIFF_C2PA = 700, 282, 33723, 34377, 0xCD41
_PSD_XMP = 1060
_RAW = PROFILE_KEY.removesuffix("iptc").lower()
_PHOTOSHOP, _PHOTOSHOP_2_5 = b"Photoshop 3.0\0", b"Adobe_Photoshop2.5:"
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_PICTURES = ("xmp:Thumbnails", "xap:Thumbnails", "GImage:Data", "GDepth:Data")
_PICTURE_VALUES = re.compile(r"""\sG(?:Image|Depth):Data\s*=\s*(?:"[^"]*"|'[^']*')""")
_C2PA_NOTE = (
    "Content credentials (C2PA) were dropped: they are valid only for the unchanged original. Coat "
    "first, then sign."
)


@dataclasses.dataclass(frozen=True)
class Extras:
    """The other metadata of a file.

    Attributes
    ----------
    iptc : bytes | None
        Photoshop resources with the IPTC fields; see :mod:`siren_ext.data.iptc`.
    dpi : tuple[float, float] | None
        Horizontal and vertical resolution in pixels per inch.
    colour : tuple[tuple[bytes, bytes], ...]
        Name and content of a PNG's :data:`COLOUR_CHUNKS`.
    lossless : bool
        Whether the file stores its pixels exactly.
    """

    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour: tuple[tuple[bytes, bytes], ...] = ()
    lossless: bool = True

    def text_for_png(self, text: dict[str, str]) -> dict[str, str]:
        """Text entries of a PNG, in which the IPTC fields are one of them."""
        return text | {PROFILE_KEY: to_profile(self.iptc)} if self.iptc else text


NO_EXTRAS = Extras()
"""Of a picture that was not read from a file."""


def read_extras(image: Image.Image, path: Path, text: dict[str, str], notes: list[str]) -> Extras:
    """The other metadata of an open image.

    Parameters
    ----------
    image : PIL.Image.Image
        The image, already loaded.
    path : Path
        Its file.
    text : dict[str, str]
        The text entries; receives the file's comment, loses IPTC fields and previews in XMP.
    notes : list of str
        Receives a note on everything that can't be kept.
    """
    try:
        return _read(image, path, text, notes)
    except Exception:  # malformed metadata can raise almost anything
        notes.append("Malformed metadata other than EXIF were dropped.")
        _raw_profiles(text, [])
        return NO_EXTRAS
    finally:
        if XMP_KEY in text:
            text[XMP_KEY] = without_pictures(text[XMP_KEY])


def _read(image: Image.Image, path: Path, text: dict[str, str], notes: list[str]) -> Extras:
    kind = image.format or ""
    resources, lossless = b"", kind not in ("JPEG", "MPO", "WEBP")
    colour: tuple[tuple[bytes, bytes], ...] = ()
    if kind in ("JPEG", "MPO"):
        resources = _jpeg_segments(image, text, notes)
        if _has_more(path):
            notes.append(
                "Data after the end of the image, such as a motion photo's video, was dropped."
            )
    elif kind in ("PNG", "WEBP"):
        walk = _png_chunks if kind == "PNG" else _webp_chunks
        with path.open("rb") as stream:
            chunks = list(walk(stream))
        colour = tuple((name, content) for name, content in chunks if content)
        names = {name for name, _ in chunks}
        lossless = lossless or b"VP8L" in names
        if names & {b"caBX", b"C2PA"}:
            notes.append(_C2PA_NOTE)
        if kind == "PNG":
            others = (printable(name.decode("latin-1")) for name in names - _KNOWN_CHUNKS)
            _note_others("PNG chunks", others, notes)
    elif kind == "TIFF":
        resources = _tiff_resources(image, text, notes)
    elif kind == "PSD":
        resources = _psd_resources(image, text)
    elif isinstance(comment := image.info.get("comment"), bytes):
        text.setdefault(COMMENT_KEY, _words(comment))
    iptc = kept_resources(resources, notes) if resources else None
    stored = _raw_profiles(text, notes)
    iptc = iptc or (kept_resources(stored, notes) if stored else None)
    return Extras(iptc, _resolution(image), colour, lossless)


def _raw_profiles(text: dict[str, str], notes: list[str]) -> bytes | None:
    """Take raw profiles out of a PNG's text, which may hold previews; returns Photoshop resources.

    EXIF in them was read already, with its orientation.
    """
    resources, lost = None, []
    for key in [key for key in text if key.lower().startswith(_RAW)]:
        kind, words = key[len(_RAW) :].lower(), text.pop(key)
        content = raw_profile(words) or b""
        packet = content.removeprefix(_XMP_HEAD)
        if kind in ("iptc", "8bim") and (stored := from_profile(words)) is not None:
            resources = resources or stored
        elif kind in ("xmp", "app1") and packet.lstrip().startswith(b"<"):
            _keep_xmp(packet, text)
        elif kind != "exif":
            lost.append(printable(kind[:40]))
    _note_others("raw profiles", lost, notes)
    return resources


def without_pictures(xmp: str) -> str:
    """XMP without previews and further pictures, which show the image without a coating.

    Parameters
    ----------
    xmp : str
        The packet; need not be well-formed.
    """
    for name in _PICTURES:
        # up to the last end, so that every start has one and is searched from once
        end = xmp.rfind(f"</{name}>") + len(name) + 3
        if end >= len(name) + 3:
            inner = re.compile(rf"<{name}(?:\s[^>]*)?>.*?</{name}>", re.DOTALL)
            xmp = inner.sub("", xmp[:end]) + xmp[end:]
    return _PICTURE_VALUES.sub("", xmp)


def _note_others(what: str, names: Iterable[str], notes: list[str]) -> None:
    """Report data that only some program or camera can read."""
    if found := sorted(set(names)):
        notes.append(f"Data from other programs were dropped: {what} {', '.join(found[:5])}.")


def is_lossless_webp(path: Path) -> bool:
    """Whether a WebP file stores its pixels exactly.

    Raises
    ------
    OSError
        If the file can't be read.
    """
    with path.open("rb") as stream:
        return any(name == b"VP8L" for name, _ in _webp_chunks(stream))


def _words(content: bytes) -> str:
    content = content.rstrip(b"\0")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def _jpeg_segments(image: Image.Image, text: dict[str, str], notes: list[str]) -> bytes:
    """Photoshop resources of a JPEG; comments go into the text."""
    segments: list[tuple[str, bytes]] = getattr(image, "applist", [])
    comments = [_words(content) for name, content in segments if name == "COM"]
    if any(comments):
        text.setdefault(COMMENT_KEY, "\n".join(filter(None, comments)))
    if any(name == "APP11" and b"c2pa" in content for name, content in segments):
        notes.append(_C2PA_NOTE)
    if any(
        name == "APP1" and content.startswith(b"http://ns.adobe.com/xmp/extension/")
        for name, content in segments
    ):
        notes.append("Extended XMP, such as depth maps, was dropped.")
    others = (
        name
        for name, content in segments
        if name not in _KNOWN_SEGMENTS and not (name == "APP11" and b"c2pa" in content)
    )
    _note_others("JPEG segments", others, notes)
    for name, content in segments:  # older Pillow leaves XMP to its caller
        if name == "APP1" and content.startswith(_XMP_HEAD):
            _keep_xmp(content[len(_XMP_HEAD) :], text)
    parts = [_app13(content, notes) for name, content in segments if name == "APP13"]
    return b"".join(parts)  # long resources are split over several segments


def _has_more(path: Path) -> bool:
    """Whether a JPEG goes on behind its end, apart from zeros that fill a block."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - _LONGEST_FILL))
        rest = stream.read().rstrip(b"\0\r\n ")
    return bool(rest) and not rest.endswith(_JPEG_END)


def _app13(content: bytes, notes: list[str]) -> bytes:
    """The Photoshop resources of a segment, which may be of old programs or be IPTC alone."""
    if content.startswith(_PHOTOSHOP):
        return content[len(_PHOTOSHOP) :]
    if content.startswith(_PHOTOSHOP_2_5):
        return content[len(_PHOTOSHOP_2_5) :].lstrip(b"\0")
    fields = resources_of(content)
    if fields is None:
        _note_others("JPEG segments", ["APP13"], notes)
    return fields or b""


def _keep_xmp(packet: Any, text: dict[str, str]) -> None:
    """Add XMP that Pillow did not report."""
    if isinstance(packet, bytes) and packet.strip(b"\0"):
        words = packet.decode("utf-8", "replace").rstrip("\0")
        text.setdefault(XMP_KEY, upright_xmp(words))


def _tiff_resources(image: Image.Image, text: dict[str, str], notes: list[str]) -> bytes:
    tags: Any = getattr(image, "tag_v2", {})
    _keep_xmp(tags.get(_TIFF_XMP), text)
    if _TIFF_C2PA in tags:
        notes.append(_C2PA_NOTE)
    whole, fields = tags.get(_TIFF_PHOTOSHOP), tags.get(_TIFF_IPTC)
    if isinstance(whole, bytes) and b"8BIM\x04\x04" in whole:
        return whole
    fields = resources_of(fields) if isinstance(fields, bytes) else None
    return (whole if isinstance(whole, bytes) else b"") + (fields or b"")


def _psd_resources(image: Image.Image, text: dict[str, str]) -> bytes:
    blocks = [(number, data) for number, _, data in getattr(image, "resources", [])]
    for number, data in blocks:
        if number == _PSD_XMP:
            _keep_xmp(data, text)
    fields = b"".join(data for number, data in blocks if number == 0x0404)
    return resources_of(fields) or b""


def _png_chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name of every chunk, and the content of small ones that describe colour."""
    stream.seek(_PNG_START)
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        wanted = name in COLOUR_CHUNKS and size <= _LARGEST_COLOUR_CHUNK
        yield name, stream.read(size) if wanted else b""
        stream.seek(4 if wanted else size + 4, 1)


def _webp_chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Name of every chunk."""
    stream.seek(12)
    for _ in range(_MOST_CHUNKS):
        head = stream.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        yield head[:4], b""
        stream.seek(size + size % 2, 1)


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, if the file gives them."""
    info = image.info
    if image.format in ("JPEG", "MPO") and info.get("jfif_unit") not in (1, 2):
        try:  # Pillow gives 72 where a file says nothing
            if _X_RESOLUTION not in image.getexif():
                return None
        except Exception:  # malformed EXIF can raise almost anything
            return None
    if image.format == "TIFF" and _X_RESOLUTION not in getattr(image, "tag_v2", {}):
        return None  # Pillow gives 1
    try:
        across, down = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    valid = all(math.isfinite(value) and 0 < value < _MOST_DPI for value in (across, down))
    return (across, down) if valid else None
