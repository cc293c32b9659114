"""Writing JPEG and WebP files with the metadata of a picture.

Both lose some of what a PNG holds: JPEG has no transparency, WebP no place for IPTC fields and
comments, and neither has chunks on colour. IPTC fields become XMP in a WebP, its comment and
resolution become EXIF; what can't be kept is reported.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import TAGS

from siren_ext.data.decode import XMP_KEY, Bytes, exif_bytes
from siren_ext.data.extras import COMMENT_KEY
from siren_ext.data.images import Picture, read_picture
from siren_ext.data.iptc import add_to_xmp
from siren_ext.data.survey import examples
from siren_ext.errors import ImageError, reason_of
from siren_ext.files import atomic
from siren_ext.text import printable

SUFFIXES = {"PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",)}
"""Suffixes of the formats that can be written; the first is the usual one."""
LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}
"""Most pixels per side."""
QUALITY = 95
"""Quality of JPEG and WebP files if nothing else is asked for, from 1 to 100."""

_SEGMENT = 65_533  # most bytes of a JPEG segment behind its length
_XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_MOST_ICC = 255 * (_SEGMENT - 14)
_EXIF_FIELDS, _USER_COMMENT = 0x8769, 0x9286
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_GAMMA_SRGB = range(45_000, 46_001)  # 1 / 2.2, in units of 1 / 100,000
_CHROMA_SRGB = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
# mean difference in levels, after blurring, above which a file holds another picture; fine noise
# does not survive compression, but its means do
_LARGEST_ERROR = 48.0
_BLUR = 16


def write_lossy(picture: Picture, path: Path, *, quality: int | None) -> tuple[Bytes, list[str]]:
    """Write a JPEG or WebP, atomically, and read it again before it gets its name.

    Colour is not subsampled in a JPEG; a WebP always subsamples it unless it is lossless.

    Parameters
    ----------
    picture : Picture
        The picture; transparency only for WebP.
    path : Path
        The file, ending in ``.jpg``, ``.jpeg`` or ``.webp``; an existing one is replaced.
    quality : int | None
        From 1 to 100; None for a lossless WebP.

    Returns
    -------
    rgb : array
        H x W x 3, uint8: the pixels as they are in the file.
    notes : list of str
        What was left out, in words for the user.

    Raises
    ------
    ImageError
        If the format can't hold the picture, or the file can't be written or read again.
    """
    path = Path(path)
    kind = format_of(path.name)
    _check(picture, path, kind, quality)
    notes: list[str] = []
    save = _save_jpeg if kind == "JPEG" else _save_webp
    try:
        with atomic(path) as temporary:
            save(temporary, picture, quality, notes)
            rgb = _read_back(picture, temporary, kind)
            if rgb is None:
                bare = Picture(picture.rgb, picture.alpha)
                save(temporary, bare, quality, [])
                notes.append(
                    "All metadata was dropped, because the file could not be read with it."
                )
                rgb = _read_back(bare, temporary, kind)
            if rgb is None:
                raise ImageError(f"{path.name} was written but can't be read again.")
    except (OSError, ValueError, KeyError) as error:
        raise ImageError(f"{path.name} can't be written: {reason_of(error)}.") from error
    return rgb, notes


def format_of(name: str) -> str:
    """The format that a name's suffix stands for: ``PNG``, ``JPEG`` or ``WEBP``.

    Raises
    ------
    ImageError
        If it is none of these.
    """
    suffix = Path(name).suffix.lower()
    for kind, suffixes in SUFFIXES.items():
        if suffix in suffixes:
            return kind
    raise ImageError(f"{name} can't be written; expected a name ending in .png, .jpg or .webp.")


def _check(picture: Picture, path: Path, kind: str, quality: int | None) -> None:
    """Refuse what a format can't hold."""
    if kind == "PNG" or (kind == "JPEG" and quality is None):
        raise ImageError(f"{path.name} is not a JPEG or WebP file name; use write_picture for PNG.")
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"The quality is {quality}; expected 1 to 100.")
    if kind == "JPEG" and picture.alpha is not None:
        raise ImageError(f"{path.name} can't store transparency; write a PNG or a WebP instead.")
    width, height = picture.size
    if max(width, height) > LONGEST_SIDE[kind]:
        raise ImageError(
            f"{path.name} would have {width}x{height} pixels; {kind} files can have at most "
            f"{LONGEST_SIDE[kind]:,} per side. Write a PNG instead."
        )


def _read_back(picture: Picture, path: Path, kind: str) -> Bytes | None:
    """The pixels of a written file; None if it can't be read or holds something else."""
    try:
        with Image.open(path, formats=[kind]) as image:
            image.load()
        back = read_picture(path)
    except (ImageError, OSError, ValueError, SyntaxError):
        return None
    if back.rgb.shape != picture.rgb.shape:
        return None
    seen = np.uint8(1) if picture.alpha is None else (picture.alpha > 0)[..., None]
    before, after = (
        np.asarray(Image.fromarray(rgb * seen).reduce(_BLUR), np.float32)
        for rgb in (picture.rgb, back.rgb)
    )
    return back.rgb if np.abs(before - after).mean() < _LARGEST_ERROR else None


# -- JPEG -----------------------------------------------------------------------------------


def _save_jpeg(path: Path, picture: Picture, quality: int | None, notes: list[str]) -> None:
    exif, icc = _fitting_exif(picture.exif, notes), picture.icc
    if icc and len(icc) > _MOST_ICC:
        icc = None
        notes.append("A colour profile of more than 16 MB was dropped: JPEG has no room for it.")
    _note_colour(picture, notes)
    across, down = picture.extras.dpi or (0, 0)
    given = {"exif": exif, "icc_profile": icc}
    extra: dict[str, Any] = {name: value for name, value in given.items() if value}
    if picture.extras.dpi:
        extra["dpi"] = (min(65_535, max(1, round(across))), min(65_535, max(1, round(down))))
    Image.fromarray(picture.rgb).save(
        path,
        format="JPEG",
        quality=quality,
        subsampling=0,
        extra=b"".join(_segments(picture, notes)),
        **extra,
    )


def _fitting_exif(exif: bytes | None, notes: list[str]) -> bytes | None:
    """The EXIF block without its largest entries if it is too large for a JPEG."""
    most = _SEGMENT - 6  # "Exif\0\0" may come before it
    if not exif or len(exif) <= most:
        return exif
    dropped: list[str] = []
    try:
        block = Image.Exif()
        block.load(exif)
        fields = dict(block.get_ifd(_EXIF_FIELDS))
        while exif and len(exif) > most:
            tables: list[Any] = [fields, block]
            sizes = [
                (len(value), tag, table)
                for table in tables
                for tag, value in table.items()
                if isinstance(value, str | bytes | tuple)
            ]
            _, tag, table = max(sizes, key=lambda entry: entry[0])
            del table[tag]
            if fields or _EXIF_FIELDS in block:
                block[_EXIF_FIELDS] = fields
            exif = exif_bytes(block)
            dropped.append(TAGS.get(tag, f"tag {tag}"))
    except Exception:  # malformed EXIF can raise almost anything
        notes.append("EXIF of more than 64 kB was dropped: JPEG has no room for it.")
        return None
    names = examples(dropped)
    notes.append(f"EXIF of more than 64 kB lost {names}: JPEG has no room for it.")
    return exif


def _segments(picture: Picture, notes: list[str]) -> Iterator[bytes]:
    """XMP, IPTC fields and comments as JPEG segments."""
    for key, value in picture.text.items():
        if key == XMP_KEY:
            packet = _XMP_HEAD + value.encode("utf-8", "replace")
            if len(packet) <= _SEGMENT:
                yield _segment(0xE1, packet)
            else:
                notes.append("XMP of more than 64 kB was dropped: JPEG has no room for it.")
    if picture.extras.iptc:
        step = _SEGMENT - len(_PHOTOSHOP)
        for start in range(0, len(picture.extras.iptc), step):
            yield _segment(0xED, _PHOTOSHOP + picture.extras.iptc[start : start + step])
    large = []
    for key, value in picture.text.items():
        if key == XMP_KEY:
            continue
        words = value if key == COMMENT_KEY else f"{key}: {value}"
        comment = words.encode("utf-8", "replace")
        if len(comment) <= _SEGMENT:
            yield _segment(0xFE, comment)
        else:
            large.append(repr(printable(key)[:80]))
    if large:
        what, were, it = "text", "was", "it"
        if len(large) > 1:
            what, were, it = f"{len(large)} texts", "were", "them"
        notes.append(f"The {what} {examples(large)} {were} dropped: JPEG has no room for {it}.")


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


# -- WebP -----------------------------------------------------------------------------------


def _save_webp(path: Path, picture: Picture, quality: int | None, notes: list[str]) -> None:
    pixels = picture.rgb
    if picture.alpha is not None:
        pixels = np.dstack((pixels, picture.alpha))
    xmp = picture.text.get(XMP_KEY)
    if picture.extras.iptc:
        xmp = add_to_xmp(xmp, picture.extras.iptc, notes)
    texts = sorted(printable(key)[:80] for key in set(picture.text) - {XMP_KEY, COMMENT_KEY})
    if texts:
        notes.append(f"Texts were dropped, because WebP has no place for them: {examples(texts)}.")
    _note_colour(picture, notes)
    given = {
        "exif": _webp_exif(picture, notes),
        "icc_profile": picture.icc,
        "xmp": xmp.encode("utf-8", "replace") if xmp else None,
    }
    extra: dict[str, Any] = {name: value for name, value in given.items() if value}
    if quality is None:
        extra |= {"lossless": True, "quality": 80, "exact": True}
    else:
        extra["quality"] = quality
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, format="WEBP", method=4, **extra)


def _webp_exif(picture: Picture, notes: list[str]) -> bytes | None:
    """EXIF with the comment and the resolution, which WebP can't hold elsewhere."""
    comment, dpi = picture.text.get(COMMENT_KEY), picture.extras.dpi
    if not comment and not dpi:
        return picture.exif
    exif = Image.Exif()
    try:
        if picture.exif:
            exif.load(picture.exif)
        if dpi and _X_RESOLUTION not in exif:
            exif[_X_RESOLUTION], exif[_Y_RESOLUTION], exif[_RESOLUTION_UNIT] = *dpi, 2
        fields = dict(exif.get_ifd(_EXIF_FIELDS))
        if comment and _USER_COMMENT not in fields:
            fields[_USER_COMMENT] = b"UNICODE\0" + comment.encode("utf-16-be", "replace")
            exif[_EXIF_FIELDS] = fields
        return exif_bytes(exif)
    except Exception:  # malformed EXIF can raise almost anything
        notes.append("The comment or the resolution was dropped: the EXIF block is malformed.")
        return picture.exif


def _note_colour(picture: Picture, notes: list[str]) -> None:
    """Report chunks on colour that change how a picture looks: JPEG and WebP have none."""
    chunks = dict(picture.extras.colour)
    gamma = int.from_bytes(chunks.get(b"gAMA", b""), "big")
    lost: set[bytes] = {name for name in (b"cICP", b"mDCV", b"cLLI") if name in chunks}
    if picture.icc is None and b"sRGB" not in chunks:
        if not _has_srgb_primaries(chunks.get(b"cHRM")):
            lost.add(b"cHRM")
        if gamma and gamma not in _GAMMA_SRGB:
            lost.add(b"gAMA")
    if lost:
        names = ", ".join(sorted(name.decode() for name in lost))
        notes.append(
            f"Colour data ({names}) were dropped, so colours can look different. Convert the image "
            "to sRGB first, or keep PNG."
        )


def _has_srgb_primaries(chunk: bytes | None) -> bool:
    """Whether a cHRM chunk says what holds without it."""
    if chunk is None or len(chunk) != 4 * len(_CHROMA_SRGB):
        return chunk is None
    values = struct.unpack(">8I", chunk)
    return all(abs(a - b) <= 100 for a, b in zip(values, _CHROMA_SRGB, strict=True))
