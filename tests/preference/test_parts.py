"""Finished images of a stopped measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siren_ext.preference.parts import Copies, Parts

RNG = np.random.default_rng(0)
FEATURES, LOSSES = RNG.normal(size=(4, 3)), RNG.normal(size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    parts = Parts(tmp_path / "parts", "run 1")
    parts.add([2, 0], FEATURES[[2, 0]], LOSSES[[2, 0]])
    parts.save()
    return tmp_path / "parts"


def test_a_stopped_run_is_resumed_with_equal_numbers(path: Path) -> None:
    parts = Parts(path, "run 1")
    assert parts.done == {0, 2}
    parts.add([1, 3], FEATURES[[1, 3]], LOSSES[[1, 3]])
    features, losses = parts.tables(4)
    assert np.array_equal(features, FEATURES)
    assert np.array_equal(losses, LOSSES)
    parts.remove()
    assert not path.exists()


def test_parts_of_another_run_are_not_used(path: Path) -> None:
    assert Parts(path, "run 2").done == frozenset()


def test_a_damaged_file_is_not_used(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])
    assert Parts(path, "run 1").done == frozenset()


def test_copies_are_kept_by_image(tmp_path: Path) -> None:
    path = tmp_path / "copies"
    seen = {
        row: [RNG.normal(size=(4, row + 2)).astype(np.float32) for _ in "ab"] for row in (0, 11)
    }
    copies = Copies(path, "run 1")
    assert copies.get(0) is None
    for row, tables in seen.items():
        copies.add(row, tables)
    copies.save()
    assert path.stat().st_mode & 0o077 == 0
    again = Copies(path, "run 1")
    assert again.done == 2
    for row, tables in seen.items():
        found = again.get(row)
        assert found is not None
        assert all(np.array_equal(*pair) for pair in zip(found, tables, strict=True))
    assert Copies(path, "run 2").done == 0
    path.write_bytes(path.read_bytes()[:-9])
    assert Copies(path, "run 1").done == 0
    again.remove()
    assert not path.exists()
    nowhere = Copies()
    nowhere.add(0, seen[0])
    nowhere.save()
    assert nowhere.done == 0
