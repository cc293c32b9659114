"""One image for a coater: what it gets, or why it gets nothing; the row of a file."""

from __future__ import annotations

import torch
from support.noise_files import noise

from siren_ext.files import sha256_file
from siren_ext.scoring.score_set import StoredImage
from siren_ext.scoring.views import ImageScore, Prepared, prepare_image


def test_files_and_tensors_are_prepared(tmp_path) -> None:
    path = noise(tmp_path / "a.png")
    found = prepare_image("a", path, 16)
    assert found.view is not None
    assert found.view.shape == (1, 3, 16, 16)
    assert (found.sha256, len(found.looks), len(found.phash)) == (sha256_file(path), 8, 64)
    assert prepare_image("t", torch.rand(3, 20, 10), 16).sha256 == ""
    assert "expected 3 x H x W" in prepare_image("t", torch.rand(4, 8, 8), 16).error
    assert prepare_image("none", tmp_path / "none.png", 16).view is None


def test_a_row_has_all_that_was_measured() -> None:
    image = Prepared("a", "f" * 64, None, (0.5,), "e" * 64)
    assert ImageScore(1.0, (2.0,), (3.0,)).stored(image) == StoredImage(
        "a", "f" * 64, 1.0, [2.0], [0.5], [3.0], "e" * 64
    )
    assert ImageScore(1.0).stored(image).features is None
    assert not ImageScore(1.0, (float("nan"),)).finite()
