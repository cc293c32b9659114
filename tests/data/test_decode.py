"""Decoding of what Pillow leaves to its callers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from siren_ext.data.decode import upright_xmp
from siren_ext.data.images import read_picture


def keyed_png(path: Path, *, depth: int, colour: int, rows: list[bytes], key: bytes) -> Path:
    """A PNG of four columns in which the pixels of one colour are transparent."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 4, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            chunk(kind, body)
            for kind, body in (
                (b"IHDR", header),
                (b"tRNS", key),
                (b"IDAT", data),
                (b"IEND", b""),
            )
        )
    )
    return path


@pytest.mark.parametrize(
    ("depth", "row"), [(1, b"\x40"), (2, b"\x1b"), (4, b"\x01\x23"), (8, b"\0\1\2\3")]
)
def test_the_transparent_grey_of_each_depth_is_kept(tmp_path, depth, row) -> None:
    rows = [row, row]
    path = keyed_png(tmp_path / "a.png", depth=depth, colour=0, rows=rows, key=b"\0\1")
    picture = read_picture(path)
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0, 255, 255]] * 2
    grey = np.rint(np.array([0, 1, 2, 3] if depth > 1 else [0, 1, 0, 0]) * 255 / (2**depth - 1))
    assert picture.rgb[0, :, 0].tolist() == grey.tolist()


def test_the_transparent_colour_of_sixteen_bits_is_no_other_one(tmp_path) -> None:
    key = struct.pack(">3H", 0x0A28, 0x1450, 0x1E61)
    other = struct.pack(">3H", 0x2800, 0x5000, 0x6100)  # the low bytes of the key, as high ones
    rows = [other + key + other + other]
    picture = read_picture(keyed_png(tmp_path / "a.png", depth=16, colour=2, rows=rows, key=key))
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0, 255, 255]]


@pytest.mark.parametrize(
    "packet",
    ['tiff:Orientation="6"', "tiff:Orientation = '6'", "<tiff:Orientation>\n6</tiff:Orientation>"],
)
def test_the_orientation_in_xmp_is_set_however_it_is_written(packet) -> None:
    assert upright_xmp(packet) == packet.replace("6", "1")
