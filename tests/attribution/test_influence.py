"""Scores against a direct computation, planted influence, and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from siren_ext.attribution.influence import influence, rank_gradients, rank_patches
from siren_ext.errors import ScoreError


def drawn(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(("count", "length"), [(5, 9), (9, 5), (6, 6)])
def test_scores_are_those_of_ridge_regression(count: int, length: int) -> None:
    """Q (F'F + l I)^-1 F', whichever of the two matrices is inverted."""
    images, queries = drawn(count, length), drawn(3, length, seed=1)
    amount = 0.3 * np.mean(np.sum(images**2, axis=1))
    inverse = np.linalg.inv(images.T @ images + amount * np.eye(length))
    assert np.allclose(influence(queries, images, 0.3), queries @ inverse @ images.T)
    assert np.allclose(influence(queries * 7, images * 7, 0.3), influence(queries, images, 0.3))


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ScoreError, match="All gradients of the images are zero"):
        influence(drawn(1, 4), np.zeros((3, 4)), 1.0)
    with pytest.raises(ScoreError, match="expected rows of the same length"):
        influence(drawn(1, 4), drawn(3, 5), 1.0)


def planted(noise: float, *, pictures: int = 1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Twelve images; pictures are like image 3, and a little unlike image 7."""
    truth = drawn(12, 40)
    asked = np.repeat((truth[3] - 0.3 * truth[7])[None], pictures, axis=0)
    rng = np.random.default_rng(2)
    spread = [
        (part[:, None] + noise * rng.standard_normal((len(part), 6, 40))).astype(np.float32)
        for part in (asked, truth)
    ]
    return spread[0], spread[1]


@pytest.mark.parametrize("pictures", [1, 4])
def test_the_planted_image_ranks_first_with_a_narrow_interval(pictures: int) -> None:
    found = rank_gradients(*planted(0.1, pictures=pictures))
    assert found.order[0] == 3
    assert found.ranks[3] == found.rank_low[3] == found.rank_high[3] == 1
    assert found.order[-1] == 7
    assert found.high[7] < 0 < found.low[3]
    assert np.isclose(np.mean(found.scores**2), 1)
    assert found.by_picture.shape == (pictures, 12)
    assert sorted(found.ranks) == list(range(1, 13))
    assert np.all(found.low < found.scores)
    assert np.all(found.scores < found.high)


def test_more_noise_gives_wider_intervals_and_more_pictures_narrower_ones() -> None:
    def width(noise: float, pictures: int) -> float:
        found = rank_gradients(*planted(noise, pictures=pictures))
        return float(np.mean(found.high - found.low))

    assert width(0.1, 1) < 0.5 * width(1.0, 1)
    assert width(1.0, 16) < 0.8 * width(1.0, 1)


def test_the_same_seed_gives_the_same_intervals() -> None:
    one, two, three = (rank_gradients(*planted(0.5), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.low, two.low)
    assert not np.array_equal(one.low, three.low)


def test_intervals_cover_the_score_without_noise() -> None:
    """95 % intervals of 12 images in 20 repetitions, for noise that is small."""
    truth = drawn(12, 40)
    asked = (truth[3] + truth[5])[None]
    exact = influence(asked, truth, 0.1)[0]
    exact /= np.sqrt(np.mean(exact**2))
    covered = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        known, query = (
            part[:, None] + 0.2 * rng.standard_normal((len(part), 10, 40))
            for part in (truth, asked)
        )
        found = rank_gradients(
            query.astype(np.float32), known.astype(np.float32), repeats=60, seed=seed
        )
        covered.append((found.low <= exact) & (exact <= found.high))
    assert np.mean(covered) > 0.85


def test_patches_rank_by_their_mean_similarity() -> None:
    similarity = np.full((2, 16, 5), 0.4)
    similarity[:, :, 2] += 0.2
    similarity[:, 8:, 4] += 0.3
    found = rank_patches(similarity)
    assert list(found.order[:2]) == [2, 4]
    assert found.rank_high[4] > found.rank_low[4] or found.high[4] - found.low[4] > 0.1
    assert found.high[2] - found.low[2] < found.high[4] - found.low[4]
    flat = rank_patches(np.full((1, 16, 3), 0.5))
    assert list(flat.ranks) == [1, 2, 3]
    assert not flat.scores.any()
