"""How well two pools of scores can be told apart, and how sure that figure is."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.experiments.study import DetectionConfig
from siren_ext.stats.resample import resampled_ks

Floats = NDArray[np.float64]

LEVELS: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
"""The significance levels that are reported; the curves have all of the paper's."""

_GROUPS = 10
_GROUP_REPEATS = 3000
_NULL_REPEATS = 500


@dataclasses.dataclass(frozen=True)
class Area:
    """Area under the curve and its standard error."""

    value: float
    error: float


def area(low: ArrayLike, high: ArrayLike) -> Area:
    """Chance that a score of ``low`` is below one of ``high``, ties counting half.

    1: told apart completely; 0.5: not at all. The standard error is that of DeLong, DeLong and
    Clarke-Pearson (1988), for independent images; it is 0 for a pool of one image.
    """
    first, second = (np.sort(np.asarray(pool, dtype=np.float64)) for pool in (low, high))

    def placed(values: Floats, others: Floats) -> Floats:
        """Share of the others that lie above each value."""
        left = np.searchsorted(others, values, "left")
        right = np.searchsorted(others, values, "right")
        return np.asarray(1 - (left + right) / (2 * len(others)))

    above, below = placed(first, second), placed(second, first)
    parts = [float(v.var(ddof=1)) / len(v) for v in (above, below) if len(v) > 1]
    return Area(float(above.mean()), float(np.sqrt(sum(parts))))


@dataclasses.dataclass(frozen=True)
class Rejections:
    """Share of tests that accuse a model, at each of :data:`LEVELS`.

    Attributes
    ----------
    shares : tuple[float, ...]
        on a guilty model the detection rate, on an innocent one that of false accusation.
    draw_errors : tuple[float, ...]
        standard errors from the finite number of draws alone.
    pool_errors : tuple[float, ...] | None
        standard errors that also count the finite pools (delete-a-group jackknife over
        both); None where a pool has no image to spare. Draws overlap, so these are the larger.
    curve : tuple[float, ...]
        the shares at the paper's levels.
    """

    shares: tuple[float, ...]
    draw_errors: tuple[float, ...]
    pool_errors: tuple[float, ...] | None
    curve: tuple[float, ...]

    def to_rows(self) -> list[dict[str, float | None]]:
        """One row of plain values per level."""
        wide = self.pool_errors or (None,) * len(LEVELS)
        rows = zip(LEVELS, self.shares, self.draw_errors, wide, strict=True)
        names = ("alpha", "share", "se_draws", "se_pools")
        return [dict(zip(names, row, strict=True)) for row in rows]


def rejections(
    suspect: Floats, reference: Floats, config: DetectionConfig, rng: np.random.Generator
) -> Rejections:
    """The resampled one-sided KS test of one model (methods of SIREN, §9.2).

    Null hypothesis of each test: both pools are draws from one distribution. The gap is sought in
    the low end of the whole reference, see :mod:`siren_ext.stats.low_end`.
    """

    def run(first: Floats, second: Floats, repeats: int) -> tuple[Floats, Floats]:
        result = resampled_ks(
            first,
            second,
            size=config.size,
            repeats=repeats,
            reference_size=config.against,
            share=config.low_end,
            rng=rng,
        )
        return result.tpr(LEVELS), result.tpr()

    shares, curve = run(suspect, reference, config.repeats)
    noise = shares * (1 - shares) / config.repeats
    variance: Floats | None = None
    spare = all(
        len(pool) - -(-len(pool) // _GROUPS) >= drawn
        for pool, drawn in ((suspect, config.size), (reference, config.against))
    )
    if spare:
        variance = noise.copy()
        fewer = min(_GROUP_REPEATS, config.repeats)
        for which in (0, 1):
            groups = np.array_split(rng.permutation(len((suspect, reference)[which])), _GROUPS)
            left_out = []
            for group in groups:
                pools = [suspect, reference]
                pools[which] = np.delete(pools[which], group)
                left_out.append(run(pools[0], pools[1], fewer)[0])
            # the draws of each of these runs add noise of their own: take its expectation off
            own = shares * (1 - shares) / fewer * (_GROUPS - 1) / _GROUPS
            variance += (_GROUPS - 1) * np.maximum(np.var(left_out, axis=0) - own, 0)
    return Rejections(
        tuple(map(float, shares)),
        tuple(map(float, np.sqrt(noise))),
        None if variance is None else tuple(map(float, np.sqrt(variance))),
        tuple(map(float, curve)),
    )


@dataclasses.dataclass(frozen=True)
class NullSpread:
    """Mean shares of false accusation of many imagined studies whose models are all innocent.

    Attributes
    ----------
    shares : Floats
        one row per imagined study, one column per level of :data:`LEVELS`.
    """

    shares: Floats

    def errors(self) -> Floats:
        """The standard error of a study's mean share, per level."""
        return np.asarray(self.shares.std(axis=0, ddof=1))

    def chance(self, observed: ArrayLike) -> Floats:
        """How often chance alone gives a mean share at least that large, per level."""
        reached = (self.shares >= np.asarray(observed)).sum(axis=0)
        return np.asarray((reached + 1) / (len(self.shares) + 1))


def null_spread(
    config: DetectionConfig, rng: np.random.Generator, *, studies: int = 300
) -> NullSpread:
    """What the study would find if innocent and reference scores had exactly one distribution.

    The tests see ranks alone, so that any continuous distribution gives the same answer. The draws
    of a study share their pools, and all its models share one reference; so the spread is many
    times that of independent tests, and a larger number of draws does not lessen it.
    """
    rows = []
    for _ in range(studies):
        reference = rng.random(config.reference)
        results = [
            resampled_ks(
                rng.random(config.mimicries),
                reference,
                size=config.size,
                repeats=min(_NULL_REPEATS, config.repeats),
                reference_size=config.against,
                share=config.low_end,
                rng=rng,
            ).tpr(LEVELS)
            for _ in range(config.seeds)
        ]
        rows.append(np.mean(results, axis=0))
    return NullSpread(np.array(rows))


def across_seeds(per_model: ArrayLike) -> list[dict[str, Any]]:
    """Mean share per level of shares (models, levels), its standard error and its range.

    The standard error is the spread from model to model over sqrt(models), None for one model.
    """
    table = np.asarray(per_model, dtype=np.float64)
    count = len(table)
    errors = table.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None
    return [
        {
            "alpha": alpha,
            "mean": float(table[:, column].mean()),
            "se_seeds": None if errors is None else float(errors[column]),
            "lowest": float(table[:, column].min()),
            "highest": float(table[:, column].max()),
        }
        for column, alpha in enumerate(LEVELS)
    ]
