"""The prediction test: is one more model like several others, judged by their means?"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list

LEAST_MODELS = 3
"""Fewest models whose spread says anything about another one."""


@dataclass(frozen=True)
class PredictionResult:
    """Outcome of a prediction test.

    Attributes
    ----------
    p_value : float
        Chance of a t this low or lower.
    statistic : float
        t, negative if the value is below the average.
    value : float
        Of the model that is tested: its mean score.
    average, spread : float
        Mean and standard deviation of the others' values.
    others : int
        k, the number of others.
    smallest_p : float
        0: there is no lowest p.
    """

    p_value: float
    statistic: float
    value: float
    average: float
    spread: float
    others: int
    smallest_p: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def prediction_less(value: float, others: ArrayLike) -> PredictionResult:
    """Test whether a model's mean score is lower than that of another model of the same kind.

    Null hypothesis: the value and the others are independent draws from one normal distribution, as
    if the suspicious model were one more clean model. What differs between clean models, such as
    the training seed, is part of their spread, however many pictures each of them made.

    A small p does not prove that a coating is the cause. The null can be false for innocent reasons
    if the models are not of the suspect's kind, and with few models p depends on the means being
    normal.

    Parameters
    ----------
    value : float
        The suspect's mean score.
    others : array_like, shape (k,)
        Mean scores of k clean models, 3 or more.

    Returns
    -------
    PredictionResult
        With t = (value - average) / (s sqrt(1 + 1/k)) and p from Student's t of k - 1 degrees of
        freedom, one-sided.

    Raises
    ------
    ScoreError
        If there are fewer than 3 others, a value is not finite, or the others are all equal.

    References
    ----------
    Hahn and Meeker (1991), "Statistical Intervals", section 4.7: the prediction interval for one
    future observation from a normal distribution.
    """
    from scipy.special import stdtr

    own = float(finite_list([value], "suspect's mean")[0])
    means = finite_list(others, "reference models' means")
    k = len(means)
    if k < LEAST_MODELS:
        raise ScoreError(f"There are {k} reference models; expected {LEAST_MODELS} or more.")
    average, spread = float(means.mean()), float(means.std(ddof=1))
    if spread <= 1e-12 * abs(average):
        raise ScoreError(
            f"The mean scores of the {k} reference models are equal; expected different models."
        )
    statistic = (own - average) / (spread * math.sqrt(1 + 1 / k))
    return PredictionResult(float(stdtr(k - 1, statistic)), statistic, own, average, spread, k)
