"""How PNG files are compressed: quickly, unless that makes them larger."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
