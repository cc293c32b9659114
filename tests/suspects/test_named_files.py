"""Names of model files with or without folder and suffix."""

from __future__ import annotations

import pytest

from siren_ext.suspects.named_files import best_fits, names_of_file


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("cat.ckpt", ["cat.ckpt"]),
        ("cat", ["cat.ckpt"]),  # a longer name comes first
        ("dog", ["a/dog.sft", "b/dog.pt"]),
        ("a/dog", ["a/dog.sft"]),
        ("a/cat", ["a\\cat.safetensors"]),
        ("/A/Cat/", ["a\\cat.safetensors"]),
        ("b/CAFE\u0301.pt", ["b/caf\u00e9.pt"]),
        ("CAT", ["b/CAT.pt"]),
        ("at", []),
        (" ", []),
    ],
)
def test_best_fits(wanted: str, found: list[str]) -> None:
    listed = [
        "a\\cat.safetensors",
        "cat.ckpt",
        "b/caf\u00e9.pt",
        "b/CAT.pt",
        "a/dog.sft",
        "b/dog.pt",
    ]
    assert best_fits(listed, wanted, names_of_file) == found
    assert best_fits([], wanted, names_of_file) == []
