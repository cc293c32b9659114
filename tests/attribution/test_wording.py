"""What a ranking says in words."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.attribution.influence import rank_patches
from siren_ext.attribution.wording import DOES_NOT_PROVE, HOW, headline, is_stable, places

NAMES = ("lake.png", "hill.png", "tree.png", "barn.png")


def clear() -> np.ndarray:
    return np.tile([0.2, 0.9, 0.1, 0.0], (1, 16, 1))


def unclear() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 16, 4)) * 5


def test_the_headline_names_the_image_and_its_place() -> None:
    found = rank_patches(clear())
    assert is_stable(found)
    assert headline("gradients", NAMES, found, 1) == (
        "Of your 4 images, hill.png is estimated to have shaped the picture most (rank 1 of 4)."
    )
    assert "has the patches most similar to the 3 pictures together" in headline(
        "patches", NAMES, found, 3
    )


def test_an_order_that_is_not_stable_is_called_so() -> None:
    found = rank_patches(unclear())
    assert not is_stable(found)
    assert "This order is not stable" in headline("gradients", NAMES, found, 1)
    first = int(found.order[0])
    assert places(found, first) == f"1 to {found.rank_high[first]}"


@pytest.mark.parametrize("method", ["gradients", "patches"])
def test_the_limits_are_stated(method: str) -> None:
    lines = " ".join(DOES_NOT_PROVE[method])
    assert "does not prove that the picture is a copy" in lines
    assert "Some image always ranks first" in lines
    assert HOW[method]
    assert ("would look different without an image" in lines) == (method == "gradients")
