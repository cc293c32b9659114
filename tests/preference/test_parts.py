"""Finished images of a stopped measurement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from siren_ext.preference.parts import Parts

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
