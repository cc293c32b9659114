"""Image files with metadata that Pillow does not write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

IPTC = {80: ["A. Painter"], 116: ["(c) 2024 A. Painter, all rights reserved"], 25: ["fox", "snow"]}
COMMENT = "made by A. Painter"
SRGB_GAMMA = struct.pack(">I", 45_455)


def smooth(size: tuple[int, int] = (48, 40), mode: str = "RGB") -> Image.Image:
    """A picture without sharp edges, which JPEG keeps well."""
    rough = np.random.default_rng(4).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    whole = Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)
    return whole.convert(mode)


def iptc_fields(texts: Mapping[int, list[str]], encoding: str = "utf-8") -> bytes:
    """Fields of the application record."""
    fields = b"\x1c\x02\x00\x00\x02\x00\x04"
    for number, several in texts.items():
        for text in several:
            content = text.encode(encoding)
            fields += bytes([0x1C, 2, number]) + struct.pack(">H", len(content)) + content
    return fields


def resource(number: int, content: bytes) -> bytes:
    """A Photoshop resource."""
    head = b"8BIM" + struct.pack(">HHI", number, 0, len(content))
    return head + content + b"\0" * (len(content) % 2)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(
    path: Path, *segments: bytes, picture: Image.Image | None = None, **options: object
) -> Path:
    """A JPEG with segments behind its start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    (picture or smooth()).save(stream, "JPEG", quality=95, **options)
    raw = stream.getvalue()
    path.write_bytes(raw[:2] + b"".join(segments) + raw[2:])
    return path


def painters_photo(path: Path) -> Path:
    """A JPEG with IPTC fields and a comment."""
    block = b"Photoshop 3.0\0" + resource(0x0404, iptc_fields(IPTC))
    return jpeg(path, segment(0xED, block), segment(0xFE, COMMENT.encode()))


def png_with(path: Path, *chunks: tuple[bytes, bytes], picture: Image.Image | None = None) -> Path:
    """A PNG with chunks before its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    (picture or smooth()).save(stream, "PNG")
    raw = stream.getvalue()
    parts = b""
    for name, content in chunks:
        checked = name + content
        parts += struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
    path.write_bytes(raw[:33] + parts + raw[33:])
    return path


def webp_with(path: Path, name: bytes, content: bytes) -> Path:
    """A WebP with a chunk at its end."""
    stream = io.BytesIO()
    smooth().save(stream, "WEBP", exif=Image.Exif().tobytes(), xmp=b"<x/>")
    raw = stream.getvalue() + name + struct.pack("<I", len(content)) + content
    raw += b"\0" * (len(content) % 2)
    path.write_bytes(b"RIFF" + struct.pack("<I", len(raw) - 8) + raw[8:])
    return path
