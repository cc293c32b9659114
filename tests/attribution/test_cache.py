"""The file of finished gradients: kept, and started again where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siren_ext.attribution.cache import GradientCache

KEYS = ("ab" * 32, "cd" * 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    cache = GradientCache(tmp_path / "cache", "run", (2, 3))
    cache.add({key: np.full((2, 3), place, np.float32) for place, key in enumerate(KEYS)})
    cache.save()
    return tmp_path / "cache"


def test_it_is_read_back(file: Path) -> None:
    again = GradientCache(file, "run", (2, 3))
    assert all(key in again for key in KEYS)
    assert np.array_equal(again[KEYS[1]], np.ones((2, 3), np.float32))
    assert "00" * 32 not in again


def test_a_file_of_another_run_or_shape_or_kind_is_started_again(file: Path) -> None:
    assert KEYS[0] not in GradientCache(file, "other", (2, 3))
    assert KEYS[0] not in GradientCache(file, "run", (3, 2))
    file.write_bytes(b"not safetensors")
    assert KEYS[0] not in GradientCache(file, "run", (2, 3))


def test_nothing_is_written_without_a_path_or_without_news(tmp_path: Path, file: Path) -> None:
    GradientCache(None, "run", (2, 3)).save()
    before = file.stat().st_mtime_ns
    GradientCache(file, "run", (2, 3)).save()
    assert file.stat().st_mtime_ns == before
