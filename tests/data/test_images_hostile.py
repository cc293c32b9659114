"""Files that are broken, hostile or too large are errors that name them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.data.image_files import readable_formats
from siren_ext.data.images import (
    picture_size,
    read_picture,
)
from siren_ext.errors import ImageError

RNG = np.random.default_rng(5)


COLOUR = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)


def png_file(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    body = b"Comment\0\0" + zlib.compress(b"\0" * (80 << 20))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    whole = png_file(1, 1, zlib.compress(b"\0" * 4))
    return whole[:33] + chunk + whole[33:]


def saved(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


HOSTILE = {
    "empty.png": lambda: b"",
    "text.png": lambda: b"this is no image at all\n" * 50,
    "cut.png": lambda: saved(Image.fromarray(COLOUR), "PNG")[:-60],
    "cut.jpg": lambda: saved(Image.fromarray(COLOUR.repeat(20, 0)), "JPEG")[:-800],
    "header.png": lambda: b"\x89PNG\r\n\x1a\n",
    "bomb.png": lambda: png_file(60_000, 60_000, zlib.compress(b"\0" * 1000)),
    "wide.png": lambda: png_file(2**31 - 1, 1, zlib.compress(b"\0" * 10)),
    "none.png": lambda: png_file(0, 0, zlib.compress(b"")),
    "text_bomb.png": text_bomb,
    "thread.png": lambda: saved(Image.new("RGB", (1, 1_000_000)), "PNG"),
    "small.gif": lambda: b"GIF89a" + struct.pack("<HHBBB", 14_000, 14_000, 0, 0, 0) + b",;",
    "small.bmp": lambda: saved(Image.new("1", (30_000, 6_000)), "PNG"),
    "strip.png": lambda: saved(Image.new("RGB", (101, 1)), "PNG"),
    "icon.png": lambda: saved(Image.fromarray(COLOUR), "ICO"),
    "scan.png": lambda: saved(Image.fromarray(COLOUR), "PCX"),
    "program.png": lambda: saved(Image.fromarray(COLOUR), "EPS"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_hostile_file_is_an_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(HOSTILE[name]())
    with pytest.raises(ImageError, match=name) as caught:
        read_picture(path)
    assert str(tmp_path) not in str(caught.value)


def test_long_pictures_are_read_up_to_a_limit(tmp_path):
    path = tmp_path / "panorama.png"
    Image.new("RGB", (100, 1)).save(path)
    assert picture_size(path) == (100, 1)
    Image.new("L", (65_536, 700)).save(path)
    with pytest.raises(ImageError, match=r"65536x700 pixels; expected sides of at most 65,535"):
        picture_size(path)


def test_missing_files_folders_and_pipes_are_errors(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="absent"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="regular"):
        read_picture(tmp_path / "folder.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(ImageError, match="regular"):
            read_picture(tmp_path / "pipe.png")


def test_the_pixel_limit_is_checked_before_decoding(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png_file(300, 300, b"no pixels here"))
    assert picture_size(path) == (300, 300)
    with pytest.raises(ImageError, match="300x300"):
        read_picture(path, max_pixels=300 * 300 - 1)
    with pytest.raises(ImageError, match="can't be read"):
        read_picture(path)


def test_pillow_limit_is_left_alone():
    before = Image.MAX_IMAGE_PIXELS
    read_limits = Path(__file__)
    with pytest.raises(ImageError):
        read_picture(read_limits)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "TIFF", "JXL", "HEIF", "AVIF"])
def test_a_file_that_was_cut_is_called_damaged(tmp_path, kind):
    if kind not in readable_formats() or kind not in Image.SAVE:
        pytest.skip("this Pillow can't write it")
    rough = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(rough), kind)
    path = tmp_path / "cut.png"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"^cut\.png .*damaged") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)
    assert "\\n" not in str(caught.value)
    assert "Please" not in str(caught.value)
