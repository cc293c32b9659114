"""Shares of models: exact intervals, and how much models of the same kind count together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level


def exact_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share.

    Parameters
    ----------
    count, total : int
        ``count`` of ``total`` independent cases, 0 <= count <= total, total >= 1.
    confidence : float
        In (0, 1). The interval covers the true share at least this often.

    Returns
    -------
    low, high : float
        In [0, 1].

    Raises
    ------
    ScoreError
        If a number is out of range.

    References
    ----------
    Clopper and Pearson (1934), "The use of confidence or fiducial limits illustrated in the case of
    the binomial", Biometrika 26.
    """
    from scipy.special import betaincinv

    if not 0 <= count <= total or total < 1:
        raise ScoreError(
            f"{count} of {total} is not a possible share; expected 0 <= count <= total, total > 0."
        )
    rest = (1 - level(confidence, "confidence")) / 2
    low = float(betaincinv(count, total - count + 1, rest)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - rest)) if count < total else 1.0
    return low, high


@dataclass(frozen=True)
class Clustering:
    """How alike the values of one cluster are.

    Attributes
    ----------
    values, clusters : int
        Number of values and of clusters.
    correlation : float
        Intra-cluster correlation, at most 1; 0 or less if values of a cluster are no more alike
        than others.
    worth : float
        The number of independent values that say as much, from 1 to ``values``.
    """

    values: int
    clusters: int
    correlation: float
    worth: float


def clustering(values: ArrayLike, clusters: Sequence[str]) -> Clustering:
    """How much the values of one cluster resemble each other.

    Parameters
    ----------
    values : array_like, shape (n,)
        One value per model, about normal, such as normal scores of p.
    clusters : Sequence[str]
        n names of clusters, at least two different ones, at least one of which has two values.

    Returns
    -------
    Clustering
        The correlation from an analysis of variance, and n divided by the design effect
        1 + (size - 1) correlation, where size is the mean size of a value's cluster.

    Raises
    ------
    ScoreError
        If the clusters don't allow a comparison.

    References
    ----------
    Donner (1986), "A review of inference procedures for the intraclass correlation coefficient in
    the one-way random effects model", Int. Stat. Rev. 54; Kish (1965), Survey sampling.
    """
    given = finite_list(values, "values of models")
    names, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    n, k = len(given), len(names)
    if len(clusters) != n or not 1 < k < n:
        raise ScoreError(
            f"{n} values have {len(clusters)} names of {k} clusters; expected a name for each, at "
            "least two clusters, and two values in one of them."
        )
    sizes = np.bincount(place)
    means = np.bincount(place, given) / sizes
    between = float((sizes * (means - given.mean()) ** 2).sum()) / (k - 1)
    within = float(((given - means[place]) ** 2).sum()) / (n - k)
    usual = (n - float((sizes**2).sum()) / n) / (k - 1)
    spread = between + (usual - 1) * within
    correlation = (between - within) / spread if spread > 0 else 0.0
    size = float((sizes**2).sum()) / n
    worth = n / max(1.0, 1 + (size - 1) * correlation)
    return Clustering(n, k, correlation, worth)
