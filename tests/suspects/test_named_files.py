"""Names of model files with or without folder and suffix."""

from __future__ import annotations

import pytest

from siren_ext.suspects.named_files import best_fits, ends_of_path, plain, without_suffix


def names(path: str) -> tuple[set[str], ...]:
    ends = ends_of_path(path)
    return {plain(path)}, ends, without_suffix(ends)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cat.ckpt", ["cat.ckpt"]),
        ("cat", ["a\\cat.safetensors", "cat.ckpt"]),
        ("a/cat", ["a\\cat.safetensors"]),
        ("/A/Cat/", ["a\\cat.safetensors"]),
        ("b/CAFE\u0301.pt", ["b/caf\u00e9.pt"]),
        ("CAT", ["b/CAT.pt"]),
        ("at", []),
        (" ", []),
    ],
)
def test_best_fits(wanted: str, found: list[str]) -> None:
    listed = ["a\\cat.safetensors", "cat.ckpt", "b/caf\u00e9.pt", "b/CAT.pt"]
    assert best_fits(listed, wanted, names) == found
    assert best_fits([], wanted, names) == []
