"""Restrict a comparison of scores to the low end of the reference, where a coating shows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list

Floats = NDArray[np.float64]

LOW_END = 0.25
"""Share of the reference that counts as its low end.

Lowering normal scores by one standard deviation opens the largest gap at the 31 % quantile of the
reference, lowering them by two opens it at the 16 % quantile, so little of the effect is lost.
"""


def low_end(
    suspect: ArrayLike, reference: ArrayLike, share: float = LOW_END
) -> tuple[Floats, Floats]:
    """Both samples with all scores above the lowest ``share`` of the reference made equal.

    A coating makes scores *low*. Innocent models that differ only in their training seed already
    differ a little in the rest of the distribution, and a test that searches there accuses them
    more often than its level allows (columns ``p_ks_matched`` and ``p_ks_whole`` of
    ``python -m siren_ext.experiments.panel``). A one-sided test on the returned samples searches
    for its gap D+ among the low scores only.

    That gap is never larger than the one over all scores, so the usual p is an upper bound under
    the usual null hypothesis, for any ``share`` fixed beforehand: at .05 it rejects 4 to 5
    times too rarely (``python benchmarks/stats_calibration.py --only low-end``). The exact p is
    in :mod:`siren_ext.stats.low_end_distribution`. Complete separation still gives D+ = 1.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Scores of the suspect's images.
    reference : array_like, shape (m,)
        Scores of the reference's images.
    share : float
        In (0, 1]; 1 leaves D+ unchanged.

    Returns
    -------
    suspect, reference : arrays, shapes (n,) and (m,)
        Scores above the ``share`` quantile of the reference are lowered to it.

    Raises
    ------
    ScoreError
        If scores are empty or not finite, or ``share`` is out of range.
    """
    first = finite_list(suspect, "suspect scores")
    second = finite_list(reference, "reference scores")
    place = low_end_count(len(second), share) - 1
    ceiling = np.partition(second, place)[place]
    return np.minimum(first, ceiling), np.minimum(second, ceiling)


def low_end_count(references: int, share: float = LOW_END) -> int:
    """How many references the low end has: ``share`` of them, rounded up.

    Parameters
    ----------
    references : int
        m, at least 1.
    share : float
        In (0, 1].

    Returns
    -------
    int
        1 to m.

    Raises
    ------
    ScoreError
        If ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise ScoreError(f"The low end's share is {share}; expected more than 0 and at most 1.")
    return max(1, math.ceil(share * references))
