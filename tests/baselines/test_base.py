from __future__ import annotations

import numpy as np
import pytest
import torch

from siren_ext.baselines.base import all_captions, evidence_rows, image_batch, known_rule
from siren_ext.errors import ConfigError, ImageError, ScoreError


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.zeros(3, 8, 8), "B x 3 x H x W"),
        (torch.zeros(0, 3, 8, 8), "B x 3 x H x W"),
        (torch.zeros(1, 3, 8, 4), "at least 8"),
        (torch.full((1, 3, 8, 8), 2.0), r"values in \[0,1\]"),
        (torch.full((1, 3, 8, 8), float("nan")), r"values in \[0,1\]"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: torch.Tensor, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        image_batch(images, 8)


def test_captions_are_one_per_image_or_none() -> None:
    assert all_captions(["a", "b"], 2) == ("a", "b")
    assert all_captions([], 2) == ()
    with pytest.raises(ConfigError, match="1 captions for 2"):
        all_captions(["a"], 2)


@pytest.mark.parametrize("wrong", [np.zeros((1, 4)), np.zeros((3, 5)), np.zeros(4)])
def test_evidence_of_another_shape_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ScoreError, match="expected N x 4"):
        evidence_rows(wrong, 4)


def test_evidence_holds_finite_numbers() -> None:
    with pytest.raises(ScoreError, match="finite"):
        evidence_rows(np.full((3, 4), np.nan), 4)


def test_unknown_rules_are_refused() -> None:
    known_rule("exact", ("published", "exact"))
    with pytest.raises(ConfigError, match="published or exact"):
        known_rule("other", ("published", "exact"))
