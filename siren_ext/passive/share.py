"""How much of a published set was used: the share of images that score unlike unpublished ones."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level

Floats = NDArray[np.float64]

_FEWEST = 10
_RESAMPLED = 1000
_DELTA, _GAMMA = 0.1, 0.01  # of best bin estimation, as in its authors' code
_CHUNK = 100


@dataclass(frozen=True)
class UsedShare:
    """Estimated share of the published images that the model was trained on.

    Attributes
    ----------
    share : float
        Estimate, 0 to 1.
    low : float
        Lower limit. It needs no assumption about the scores of images that were used.
    high : float
        Upper limit, for used images that nearly all score higher than most unpublished ones. Where
        the scores of used and unused images overlap more, the true share can be larger.
    level : float
        Confidence of the interval; each limit fails with probability (1 - level) / 2.
    """

    share: float
    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def used_share(
    published: ArrayLike, unpublished: ArrayLike, *, confidence: float = 0.95, seed: int = 0
) -> UsedShare:
    """Estimate which share of the published images was used, with an interval.

    Published images are a mixture: those that were not used score like unpublished ones, the others
    score higher. If a share a of them was not used, at least a times as many published as
    unpublished images score below any threshold, so the smallest ratio bounds a from above.

    The interval holds for the mixture that the scores show. Whether they show training is decided
    by :func:`~siren_ext.passive.set_comparison.compare_sets`, not here.

    Parameters
    ----------
    published, unpublished : array_like, shape (n,) and (m,)
        Scores, larger for images that the model was trained on.
    confidence : float
        Of the interval, between 0 and 1.
    seed : int
        Seed of the resampling.

    Returns
    -------
    UsedShare
        Estimate and interval.

    Raises
    ------
    ScoreError
        If there are fewer than 10 scores of either kind, or some are not finite.

    Notes
    -----
    ``share`` is the best bin estimate: the ratio at the threshold where it plus its standard error
    is smallest. ``low`` follows from the smallest ratio of the upper limit of one distribution
    function to the lower limit of the other one, with the exact constant of Massart (1990), so it
    holds for all thresholds at once. ``high`` is the percentile of the estimate over 1,000
    resamples.

    References
    ----------
    Garg et al. (2021), "Mixture proportion estimation and PU learning: a modern approach", NeurIPS;
    Blanchard et al. (2010), "Semi-supervised novelty detection", JMLR 11; Massart (1990), Ann.
    Probab. 18(3).
    """
    first = finite_list(published, "scores of published images")
    second = finite_list(unpublished, "scores of unpublished images")
    miss = (1 - level(confidence, "confidence")) / 2
    if min(len(first), len(second)) < _FEWEST:
        raise ScoreError(
            f"There are {len(first)} published and {len(second)} unpublished images; expected "
            f"{_FEWEST} or more of each to estimate a share."
        )
    cuts = np.unique(np.concatenate([first, second]))
    below = [_below(one[None], cuts)[0] for one in (first, second)]
    share = float(_best_bin(below[0][None], below[1][None], len(first), len(second))[0])
    rng = np.random.default_rng((seed, 4))
    estimates = [
        _best_bin(
            _below(rng.choice(first, (_CHUNK, len(first))), cuts),
            _below(rng.choice(second, (_CHUNK, len(second))), cuts),
            len(first),
            len(second),
        )
        for _ in range(_RESAMPLED // _CHUNK)
    ]
    high = float(np.quantile(np.concatenate(estimates), 1 - miss))
    low = _lower_limit(below[0], below[1], len(first), len(second), miss)
    return UsedShare(share, min(low, share), max(high, share), confidence)


def _below(values: Floats, cuts: Floats) -> Floats:
    """Share of each row's values that are at most each threshold."""
    places = np.searchsorted(cuts, values)  # every value is a threshold itself
    counts = np.zeros((len(values), len(cuts)))
    np.add.at(counts, (np.arange(len(values))[:, None], places), 1.0)
    return np.asarray(counts.cumsum(axis=1) / values.shape[1])


def _best_bin(first: Floats, second: Floats, n: int, m: int) -> Floats:
    """Used share of every row, by Garg et al., Eq. 3."""
    error = math.sqrt(math.log(4 / _DELTA) / 2)
    safe = np.maximum(second, 1e-300)
    bound = np.where(
        second > 0,
        (first + (1 + _GAMMA) * error * (n**-0.5 + m**-0.5)) / safe,
        np.inf,
    )
    best = bound.argmin(axis=1)[:, None]
    ratio = np.take_along_axis(first / safe, best, axis=1)[:, 0]
    return np.asarray(np.clip(1 - ratio, 0, 1))


def _lower_limit(first: Floats, second: Floats, n: int, m: int, miss: float) -> float:
    """The share that is exceeded with probability 1 - ``miss``, whatever used images score."""
    error = [math.sqrt(math.log(2 / miss) / (2 * count)) for count in (n, m)]
    floor = second - error[1]
    usable = floor > 0
    if not usable.any():
        return 0.0
    ratio = np.minimum(first[usable] + error[0], 1) / floor[usable]
    return float(np.clip(1 - ratio.min(), 0, 1))
