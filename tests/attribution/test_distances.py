"""Distances between pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from siren_ext.attribution.distances import (
    distance_named,
    embedded,
    l2,
    l2_tiled,
    pocket_embedding,
)
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.errors import ImageError


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("distance", [l2, l2_tiled])
def test_equal_pictures_have_0_black_and_white_1(distance) -> None:
    one, other = pictures(0), pictures(1)
    assert distance(one, one).tolist() == [0, 0, 0]
    black, white = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert distance(black, white).tolist() == [1]
    np.testing.assert_array_equal(distance(one, other), distance(other, one))


def test_l2_is_the_formula_and_the_largest_tile_is_never_smaller() -> None:
    one, other = pictures(0), pictures(1)
    flat = (one - other).double().reshape(3, -1)
    np.testing.assert_allclose(l2(one, other), (flat.square().sum(1) / flat.shape[1]).sqrt())
    assert (l2_tiled(one, other) >= l2(one, other)).all()


def test_one_changed_tile_is_seen_by_the_tiled_distance() -> None:
    one = torch.zeros(1, 3, 16, 16)
    other = one.clone()
    other[:, :, :4, :4] = 1
    assert l2_tiled(one, other).tolist() == [1]
    assert l2(one, other) == pytest.approx(0.25)


def test_an_embedding_gives_one_minus_the_cosine() -> None:
    distance = embedded(lambda x: x.flatten(1).double().numpy())
    one = pictures(0)
    np.testing.assert_allclose(distance(one, 0.5 * one), 0, atol=1e-12)
    left, right = torch.zeros(2, 1, 3, 4, 4)
    left[0, 0], right[0, 1] = 1, 1
    assert distance(left, right).tolist() == [1]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ImageError, match="expected equal batches"):
        l2(pictures(0), pictures(0)[:1])
    with pytest.raises(ImageError, match="expected multiples of 4"):
        l2_tiled(torch.zeros(1, 3, 6, 6), torch.zeros(1, 3, 6, 6))


def test_distances_by_name() -> None:
    assert distance_named(SourceConfig()) is l2
    assert distance_named(SourceConfig(distance="l2_tiled")) is l2_tiled


@pytest.mark.models
def test_the_bundled_autoencoder_embeds_pictures_of_any_size() -> None:
    pytest.importorskip("diffusers")
    embed = pocket_embedding()
    assert embed(torch.rand(2, 3, 64, 64)).shape == embed(torch.rand(2, 3, 200, 200)).shape
    distance = distance_named(SourceConfig(distance="pocket"))
    one = torch.rand(1, 3, 128, 128)
    assert distance(one, one) == pytest.approx(0, abs=1e-6)
    assert distance(one, torch.zeros_like(one)) > 0.01
