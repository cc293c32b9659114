"""How many key samples a model reproduces, and how surprising that is for an innocent one.

Null hypothesis of the binomial tail: the model is like the innocent ones, so that it reproduces
each key sample with the same probability p0, independently of the others. A small p does not prove
how the model came to reproduce them: it may have been trained on the source's training images, or
on another model's copies of them, instead of on the source's pictures. Nor does it hold if innocent
models differ among themselves by more than chance; the verdict therefore also compares with the
best of them. That one more innocent model exceeds all k others has a chance of at most 1 / (k + 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siren_ext.attribution.source_config import FALLBACK_RATE, FEWEST_INNOCENT
from siren_ext.errors import ScoreError
from siren_ext.stats.shares import exact_interval

Floats = NDArray[np.float64]


def count_hits(distances: Floats, delta: float) -> tuple[int, int]:
    """Key samples that are reproduced, and those that were answered.

    Parameters
    ----------
    distances : array, shape (N,)
        Of the nearest answers; NaN where there was none.
    delta : float
        Largest distance that counts.

    Returns
    -------
    hits, total : int
        0 <= hits <= total <= N.
    """
    known = distances[~np.isnan(distances)]
    return int((known <= delta).sum()), len(known)


def confidence(distances: Floats, delta: float) -> float:
    """conf(M), the share of key samples that a model reproduces; 0 if it answered none.

    Parameters are those of :func:`count_hits`.

    References
    ----------
    Zhang et al. (2024), arXiv 2409.15781, Eq. 9, as its Table 2 implies.
    """
    hits, total = count_hits(distances, delta)
    return hits / total if total else 0.0


def binomial_tail(hits: int, total: int, rate: float) -> float:
    """Pr[Binomial(total, rate) >= hits], exact.

    Parameters
    ----------
    hits, total : int
        0 <= hits <= total, total at least 1.
    rate : float
        p0, from 0 to 1.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ScoreError
        If a number is out of range.
    """
    from scipy.stats import binom

    if not (0 <= hits <= total and total >= 1 and 0 <= rate <= 1):
        raise ScoreError(
            f"Found {hits} of {total} key samples at a rate of {rate:g}; expected 0 to all of them "
            "and a rate from 0 to 1."
        )
    return float(binom.sf(hits - 1, total, rate))


@dataclass(frozen=True)
class InnocentRate:
    """How often innocent models reproduce a key sample.

    Attributes
    ----------
    hits, total : int
        Key samples that they reproduced, of all; 0 if no innocent model was asked.
    models : int
        Innocent models that answered a key sample.
    best : int
        Most key samples that one of them reproduced.
    rate : float
        Their share, or the fallback of 5 % if there are fewer than three models.
    upper : float
        Upper end of its exact 95 % interval, as if all models were alike. The verdict takes it for
        p0: an estimate of 0 would make every hit infinitely surprising. Not below the fallback if
        there are too few models.
    measured : bool
        Whether there were enough models.
    """

    hits: int
    total: int
    models: int
    best: int
    rate: float
    upper: float
    measured: bool


def innocent_rate(models: Sequence[Floats], delta: float) -> InnocentRate:
    """p0 from innocent models.

    Parameters
    ----------
    models : sequence of array, each of shape (N,)
        Distances of the nearest answers of each.
    delta : float
        Largest distance that counts.
    """
    # a model that answered nothing measures nothing, so it is none of the three that are needed
    counts = [found for found in (count_hits(one, delta) for one in models) if found[1]]
    hits, total = (sum(part) for part in zip(*counts, strict=True)) if counts else (0, 0)
    best = max((found for found, _ in counts), default=0)
    upper = exact_interval(hits, total)[1] if total else FALLBACK_RATE
    measured = len(counts) >= FEWEST_INNOCENT
    if measured:
        return InnocentRate(hits, total, len(counts), best, hits / total, upper, True)
    rate = max(FALLBACK_RATE, hits / total if total else 0.0)
    return InnocentRate(hits, total, len(counts), best, rate, max(upper, FALLBACK_RATE), False)


@dataclass(frozen=True)
class DeltaChoice:
    """A threshold of the distance that tells known models apart.

    Attributes
    ----------
    delta : float
        The threshold.
    known, innocent : float
        Shares of key samples up to it, of models trained on the source's pictures and of innocent
        ones.
    """

    delta: float
    known: float
    innocent: float

    @property
    def youden(self) -> float:
        """Youden's J, the difference of the shares: 1 tells all apart, 0 none."""
        return self.known - self.innocent


def choose_delta(known: Sequence[Floats], innocent: Sequence[Floats], band: float) -> DeltaChoice:
    """The edge of a band of distances with the largest Youden's J; the smallest of equal ones.

    Parameters
    ----------
    known, innocent : sequence of array, each of shape (N,)
        Distances of models that were trained on the source's pictures, and of innocent ones.
    band : float
        Edges are its multiples.

    Raises
    ------
    ScoreError
        If there is no distance of one kind.

    References
    ----------
    Youden (1950), "Index for rating diagnostic tests", Cancer 3.
    """
    pools = []
    for kind, models in (("known", known), ("innocent", innocent)):
        pool = np.concatenate([*models, np.empty(0)])
        pool = pool[~np.isnan(pool)]
        if not len(pool):
            raise ScoreError(
                f"There are no distances of {kind} models; expected at least one model of each."
            )
        pools.append(pool)
    last = math.ceil(max(pool.max() for pool in pools) / band)
    choices = [
        DeltaChoice(edge, *(float((pool <= edge).mean()) for pool in pools))
        for edge in (round(band * step, 10) for step in range(1, max(1, last) + 1))
    ]
    return max(choices, key=lambda choice: (round(choice.youden, 12), -choice.delta))
