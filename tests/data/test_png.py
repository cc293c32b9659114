"""How PNG files are compressed, and what Pillow refuses in them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.data.images import read_picture
from siren_ext.data.png import compression, save_png


def _noisy(side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(0)
    slope = np.linspace(40, 200, side)[:, None, None] + np.zeros((side, side, 3))
    return np.clip(slope + rng.normal(0, 4, slope.shape), 0, 255).astype(np.uint8)


def _repeated() -> np.ndarray:
    cell = np.random.default_rng(1).integers(0, 256, (96, 12, 3), dtype=np.uint8)
    return np.tile(cell, (1, 8, 1))


@pytest.mark.parametrize(("pixels", "level"), [(_noisy(), 1), (_repeated(), 4)])
def test_the_fast_way_is_taken_unless_files_grow(pixels: np.ndarray, level: int) -> None:
    assert compression(pixels)["compress_level"] == level
    assert compression(np.dstack((pixels, pixels[..., :1])))["compress_level"] == level


@pytest.mark.parametrize("pixels", [_noisy(), _repeated(), _noisy(1), _noisy(17)])
def test_files_are_exact_and_hardly_larger(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    save_png(path, pixels, text={}, exif=None, icc=None)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image), pixels)
    usual = io.BytesIO()
    Image.fromarray(pixels).save(usual, format="PNG", compress_level=4)
    assert path.stat().st_size <= 1.05 * usual.tell()


def with_chunks(path: Path, chunks: Iterable[tuple[bytes, bytes]], *, at_end: bool = False) -> Path:
    """A picture of 12 x 8 with further chunks before or behind its pixels."""
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), (90, 20, 60)).save(stream, "PNG")
    data, added = stream.getvalue(), b""
    for name, content in chunks:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        added += struct.pack(">I", len(content)) + name + content + checksum
    place = len(data) - 12 if at_end else 33
    path.write_bytes(data[:place] + added + data[place:])
    return path


@pytest.mark.parametrize("at_end", [False, True])
def test_a_png_whose_texts_pillow_refuses_is_read_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_end: bool
) -> None:
    large = zlib.compress(b"w" * ((1 << 20) + 1))
    fits = (b"zTXt", b"notes\0\0" + zlib.compress(b"n" * (1 << 20)))
    chunks = [(b"zTXt", b"workflow\0\0" + large), (b"iTXt", b"XML\0\1\0\0\0" + large), fits]
    path = with_chunks(tmp_path / "a.png", chunks, at_end=at_end)
    with pytest.raises(ValueError, match=r"(?i)too large"):
        Image.open(path).load()
    picture = read_picture(path)
    assert picture.rgb.shape == (8, 12, 3)
    assert {key: len(text) for key, text in picture.text.items()} == {"notes": 1 << 20}
    assert picture.notes == (
        "The text 'workflow' of more than 1 MB was dropped.",
        "The text 'XML' of more than 1 MB was dropped.",
    )
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_MEMORY", 2_000_000)
    texts = [(b"tEXt", b"k%d\0" % number + b"w" * 600_000) for number in range(4)]
    picture = read_picture(with_chunks(tmp_path / "b.png", texts, at_end=at_end))
    assert sorted(picture.text) == ["k0", "k1", "k2"]
    assert picture.notes == ("The text 'k3' of 1 MB was dropped.",)
