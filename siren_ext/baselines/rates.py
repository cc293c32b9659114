"""How often a method accuses, from stored evidence alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from siren_ext.baselines.base import Baseline, Floats
from siren_ext.errors import ScoreError
from siren_ext.stats.shares import exact_interval

SAMPLE = 30
"""Pictures of one test in the paper."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """How often a rule rejects at a level.

    Attributes
    ----------
    rule : str
        Name of the rule.
    alpha : float
        Nominal level.
    rejected, draws : int
        Tests that rejected, of all.
    low, high : float
        Exact 95 % interval of the rate, for this pool of pictures and independent draws.
    """

    rule: str
    alpha: float
    rejected: int
    draws: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of tests that rejected."""
        return self.rejected / self.draws


def rates(
    method: Callable[[int], Baseline],
    pool: Floats,
    alphas: Sequence[float],
    *,
    draws: int,
    size: int = SAMPLE,
    seed: int = 0,
) -> list[Rate]:
    """Draw samples of a pool and test each.

    Parameters
    ----------
    method : callable
        ``method(draw)`` is the method for a draw; with another secret each time where evidence does
        not depend on it, or always the same.
    pool : array
        Evidence of all pictures, one row each.
    alphas : Sequence[float]
        Levels.
    draws : int
        Number of samples.
    size : int
        Pictures per sample, drawn without replacement.
    seed : int
        Of the draws.

    Returns
    -------
    list[Rate]
        For every rule and level.

    Raises
    ------
    ScoreError
        If the pool is smaller than a sample.
    """
    if len(pool) < size or draws < 1:
        raise ScoreError(
            f"Found {len(pool)} pictures for samples of {size}, {draws} draws; expected at least "
            "as many pictures, and one draw."
        )
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        sample, one = pool[rng.permutation(len(pool))[:size]], method(draw)
        for rule in one.rules:
            found.setdefault(rule, []).append(one.p_value(sample, rule))
    result = []
    for rule, values in found.items():
        for alpha in alphas:
            count = int((np.array(values) <= alpha).sum())
            result.append(Rate(rule, alpha, count, draws, *exact_interval(count, draws)))
    return result
