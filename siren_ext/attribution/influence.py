"""From gradients or patches to scores, and to a ranking with intervals.

References
----------
Park et al. (2023), "TRAK" (arXiv 2303.14186), Eq. 16, without its weights of the loss, as in Zheng
et al. (2024), "Intriguing properties of data attribution on diffusion models" (arXiv 2311.00500),
Eq. 7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError

Floats = NDArray[np.float64]

_NORMAL = 1.959964  # a 95 % interval of a normal distribution is this many deviations wide, twice
_TAILS = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class Ranking:
    """Scores of n images for all pictures together, and how sure they are.

    Attributes
    ----------
    scores : array, shape (n,)
        Influence; the root mean square over the images is 1. The sign counts: images with a
        negative score work against the pictures.
    low, high : array, shape (n,)
        95 % interval of each score: plus and minus 1.96 bootstrap deviations.
    ranks : array, shape (n,)
        1 for the highest score.
    rank_low, rank_high : array, shape (n,)
        95 % interval of each rank: percentiles of the bootstrap.
    by_picture : array, shape (pictures, n)
        Scores of each picture, scaled likewise.
    """

    scores: Floats
    low: Floats
    high: Floats
    ranks: NDArray[np.int64]
    rank_low: NDArray[np.int64]
    rank_high: NDArray[np.int64]
    by_picture: Floats

    @property
    def order(self) -> NDArray[np.int64]:
        """Positions of the images, from the highest score to the lowest."""
        found: NDArray[np.int64] = np.argsort(self.ranks)
        return found


def influence(queries: Floats, images: Floats, ridge: float) -> Floats:
    """Scores of images for pictures: ``Q (F^T F + l I)^-1 F^T``.

    Parameters
    ----------
    queries : array, shape (q, k)
        Projected gradients of the pictures.
    images : array, shape (n, k)
        Those of the images, F.
    ridge : float
        l as a multiple of the mean squared length of the rows of F.

    Returns
    -------
    array, shape (q, n)
        float64.

    Raises
    ------
    ScoreError
        If all gradients of the images are zero, or the shapes do not fit.

    Notes
    -----
    Computed as ``Q F^T (F F^T + l I)^-1`` where that matrix is smaller; both are equal.
    """
    asked, known = (np.asarray(part, dtype=np.float64) for part in (queries, images))
    if asked.ndim != 2 or known.ndim != 2 or asked.shape[1] != known.shape[1]:
        raise ScoreError(
            f"Gradients have shapes {asked.shape} and {known.shape}; expected rows of the same "
            "length. Measure all of them with the same settings."
        )
    size = float(np.mean(np.sum(known**2, axis=1)))
    if not size > 0:
        raise ScoreError(
            "All gradients of the images are zero; expected a LoRA that the model uses. Check that "
            "it was trained for this base model."
        )
    amount = ridge * size
    count, length = known.shape
    if count <= length:
        inner = known @ known.T + amount * np.eye(count)
        return np.asarray(np.linalg.solve(inner, known @ asked.T).T)
    inner = known.T @ known + amount * np.eye(length)
    return np.asarray(asked @ np.linalg.solve(inner, known.T))


def rank_gradients(
    queries: NDArray[np.float32],
    images: NDArray[np.float32],
    *,
    ridge: float = 0.1,
    repeats: int = 200,
    seed: int = 0,
) -> Ranking:
    """Rank images by the influence that their gradients have on pictures.

    Parameters
    ----------
    queries : array, shape (q, noises, k)
        Projected gradients of the pictures, by noise.
    images : array, shape (n, noises, k)
        Those of the images.
    ridge : float
        As in :func:`influence`.
    repeats : int
        Bootstrap samples. Each draws the noises of every image and picture anew, and the pictures
        if there are several.
    seed : int
        Seed of the bootstrap.

    Raises
    ------
    ScoreError
        As :func:`influence`.
    """
    asked, known = (np.asarray(part, dtype=np.float64) for part in (queries, images))

    def again(rng: np.random.Generator) -> Floats:
        return influence(_redrawn(asked, rng), _redrawn(known, rng), ridge)

    return _ranked(influence(asked.mean(1), known.mean(1), ridge), again, repeats, seed)


def rank_patches(similarity: Floats, *, repeats: int = 200, seed: int = 0) -> Ranking:
    """Rank images by how similar their patches are to those of pictures.

    Parameters
    ----------
    similarity : array, shape (q, areas, n)
        Of :func:`~siren_ext.diffusion.patches.patch_similarity`, by area of the picture.
    repeats : int
        Bootstrap samples. Each draws the areas of every picture anew, and the pictures if there are
        several.
    seed : int
        Seed of the bootstrap.

    Notes
    -----
    Each picture's mean over the images is subtracted: all patches are somewhat alike.
    """
    found = np.asarray(similarity, dtype=np.float64)

    def again(rng: np.random.Generator) -> Floats:
        return _centred(_redrawn(found, rng))

    return _ranked(_centred(found.mean(1)), again, repeats, seed)


def _redrawn(values: Floats, rng: np.random.Generator) -> Floats:
    """Means over the second axis, of entries drawn with replacement for each row."""
    rows, parts = values.shape[:2]
    picked = rng.integers(parts, size=(rows, parts))
    counts = np.stack([np.bincount(one, minlength=parts) for one in picked]) / parts
    return np.asarray(np.einsum("rp,rpk->rk", counts, values))


def _centred(scores: Floats) -> Floats:
    return np.asarray(scores - scores.mean(axis=1, keepdims=True))


def _scaled(scores: Floats) -> Floats:
    """Rows divided by their root mean squares; rows of zeros are kept."""
    size = np.sqrt(np.mean(scores**2, axis=-1, keepdims=True))
    return np.asarray(scores / np.where(size > 0, size, 1.0))


def _ranked(
    scores: Floats, again: Callable[[np.random.Generator], Floats], repeats: int, seed: int
) -> Ranking:
    """The ranking of scores (q x n), with intervals from other draws of them."""
    rng = np.random.default_rng(seed)
    by_picture = _scaled(scores)
    pooled = _scaled(by_picture.mean(axis=0))
    drawn = np.stack([_once(again, rng) for _ in range(repeats)])
    spread = _NORMAL * drawn.std(axis=0, ddof=1)
    ranks = np.stack([_ranks(one) for one in drawn])
    low, high = (
        np.asarray(np.rint(np.percentile(ranks, tail, axis=0)), np.int64) for tail in _TAILS
    )
    own = _ranks(pooled)
    bounds = partial(np.asarray, dtype=np.int64)
    return Ranking(
        pooled,
        pooled - spread,
        pooled + spread,
        own,
        bounds(np.minimum(low, own)),
        bounds(np.maximum(high, own)),
        by_picture,
    )


def _once(again: Callable[[np.random.Generator], Floats], rng: np.random.Generator) -> Floats:
    """Pooled scores of one bootstrap sample."""
    found = _scaled(again(rng))
    return _scaled(found[rng.integers(len(found), size=len(found))].mean(axis=0))


def _ranks(scores: Floats) -> NDArray[np.int64]:
    """1 for the highest; equal scores in the order of the images."""
    order = np.argsort(-scores, kind="stable")
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = np.arange(1, len(scores) + 1)
    return ranks
