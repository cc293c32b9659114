"""Innocent models, simulated, where models or any statistic are tested instead of pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from siren_ext.attribution.key_queries import Answers
from siren_ext.attribution.source_config import DELTA, SourceConfig
from siren_ext.attribution.source_verdict import judge_source
from siren_ext.stats.prediction import prediction_less
from siren_ext.stats.rank import rank_among
from siren_ext.stats.tilted import tilted_test

Floats = NDArray[np.float64]
Drawn = dict[str, Floats]
Draw = Callable[[int, np.random.Generator], Drawn]

_PAIRED_BITS, _MESSAGES = 16, 400
_INNOCENT, _KEYS, _RATE = 10, 30, 0.2


def ranked(others: int, *, ties: bool = False) -> Draw:
    """A model among innocent ones, or a coater among its decoys.

    Parameters
    ----------
    others : int
        Their number.
    ties : bool
        Round values to one digit.

    Returns
    -------
    callable
        For :class:`siren_ext.experiments.sizes.Simulation`.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        values = rng.gamma(2.0, size=(runs, others + 1))  # skewed, unlike normal ones
        values = values.round(1) if ties else values
        found = [rank_among(float(row[0]), row[1:]).p_value for row in values]
        return {"rank among innocent models or decoys": np.array(found)}

    return draw


def predicted(others: int) -> Draw:
    """One more clean model beside several others.

    Parameters
    ----------
    others : int
        Their number.

    Returns
    -------
    callable
        For :class:`siren_ext.experiments.sizes.Simulation`. Mean scores are normal.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        means = rng.normal(size=(runs, others + 1))
        found = [prediction_less(float(row[0]), row[1:]).p_value for row in means]
        return {"comparison with several reference models": np.array(found)}

    return draw


def key_samples(spread: float) -> Draw:
    """An innocent model that is asked for a source's key samples, beside ten others.

    Parameters
    ----------
    spread : float
        Standard deviation of the models' rates, which follow a Beta distribution of mean .2; with 0
        all are alike.

    Returns
    -------
    callable
        For :class:`siren_ext.experiments.sizes.Simulation`. p is 1 where another condition of the
        verdict does not hold.
    """
    settings = SourceConfig(alpha=0.499)

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        rates = np.full((runs, _INNOCENT + 1), _RATE)
        if spread:
            weight = _RATE * (1 - _RATE) / spread**2 - 1
            rates = rng.beta(_RATE * weight, (1 - _RATE) * weight, size=rates.shape)
        near = rng.random((*rates.shape, _KEYS)) < rates[..., None]
        distances = np.where(near, DELTA / 2, 2 * DELTA)
        p = np.ones(runs)
        for run, models in enumerate(distances):
            own, *others = (Answers(one[:, None], ((),) * _KEYS, _KEYS) for one in models)
            innocent = {str(number): one for number, one in enumerate(others)}
            found = judge_source(own, {}, innocent, settings)
            if found.outcome == "found":
                p[run] = found.p_value
        return {"key samples of a source model": p}

    return draw


def any_statistic(runs: int, rng: np.random.Generator) -> Drawn:
    """A message tested by a statistic of single bits and of pairs of bits."""
    p = np.empty(runs)
    for run in range(runs):
        line = rng.normal(size=_PAIRED_BITS)
        pairs = rng.normal(size=(_PAIRED_BITS, _PAIRED_BITS))
        message = rng.integers(0, 2, _PAIRED_BITS) * 2 - 1

        def statistic(some: Floats, line: Floats = line, pairs: Floats = pairs) -> Floats:
            return np.asarray(some @ line + ((some @ pairs) * some).sum(axis=1), dtype=np.float64)

        seed = int(rng.integers(2**40))
        p[run] = tilted_test(statistic, message, seed=seed, drawn=_MESSAGES).p_value
    return {"keyed test of any statistic": p}
