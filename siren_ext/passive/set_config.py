"""Settings and outcome of a comparison of two sets of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from siren_ext.config import Config
from siren_ext.passive.scorer import Scorer

Floats = NDArray[np.float64]
Mode = Literal["permutation", "default", "paper", "official"]
FEWEST = 10
"""Images per set below which nothing is tested."""


@dataclass(frozen=True)
class SetTestConfig(Config):
    """How published images are compared with unpublished ones.

    Attributes
    ----------
    mode : {"permutation", "default", "paper", "official"}
        The test; see :func:`siren_ext.passive.set_comparison.compare_sets`.
    folds : int
        Parts of the cross-validation of all modes but ``default``.
    permutations : int
        Labellings that ``permutation`` compares with the true one.
    splits : int
        Random halvings of ``default``.
    subset : int
        Images per set in each draw of ``paper`` and ``official``; 0 for all, once.
    draws : int
        Such draws.
    scorer : {"logistic", "mean"}
        Whether the scoring model is learnt; see :func:`siren_ext.passive.scorer.scores`.
    penalty : float
        C of a learnt one.
    seed : int
        Seed of folds, splits, labellings and draws.
    """

    mode: Mode = "permutation"
    folds: Annotated[int, Meta(ge=2, le=20)] = 5
    permutations: Annotated[int, Meta(ge=19, le=1_000_000)] = 4999
    splits: Annotated[int, Meta(ge=1, le=10_000)] = 100
    subset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    draws: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    scorer: Scorer = "logistic"
    penalty: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


@dataclass(frozen=True, eq=False)
class SetComparison:
    """Outcome of a comparison.

    Attributes
    ----------
    mode : Mode
        The test.
    p_value : float
        In [0, 1]; one-sided except in mode ``official``.
    smallest_p : float
        No level below it can be reached.
    statistic : float
        Welch's t of the scores, published minus unpublished; the mean over repeats.
    right_way : bool
        Whether published images score higher, and their ``smaller`` columns are smaller.
    auc : float
        Share of pairs in which the published image scores higher; 0.5 is no difference.
    n : int
        Images per set.
    features : int
        Features per image.
    repeats : int
        Labellings, splits or draws.
    published, unpublished : array, shape (n,)
        Score of every image by models that were not fitted to it; the mean over repeats. NaN for
        an image that was never scored.
    """

    mode: Mode
    p_value: float
    smallest_p: float
    statistic: float
    right_way: bool
    auc: float
    n: int
    features: int
    repeats: int
    published: Floats
    unpublished: Floats

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the scores of the images."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del kept["published"], kept["unpublished"]
        return kept
