"""How well two pools of scores can be separated, with standard errors."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.experiments.study import DetectionConfig
from siren_ext.stats.resample import resampled_ks

Floats = NDArray[np.float64]

LEVELS: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
"""Significance levels of the tables; the curves have all of the paper's."""

_GROUPS = 10
_GROUP_REPEATS = 3000
_NULL_REPEATS = 500


@dataclasses.dataclass(frozen=True)
class Area:
    """Area under the curve and its standard error.

    Attributes
    ----------
    value : float
        0 to 1.
    error : float
        at least 0.
    """

    value: float
    error: float


def area(low: ArrayLike, high: ArrayLike) -> Area:
    """Compute the chance that a score of ``low`` is below one of ``high``; ties count half.

    Parameters
    ----------
    low, high : ArrayLike
        at least one score each.

    Returns
    -------
    Area
        1 for completely separated pools, 0.5 for equal ones. The standard error is for independent
        images; a pool of one image adds nothing to it.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44.
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
        the detection rate of a guilty model, the false accusation rate of an innocent one.
    draw_errors : tuple[float, ...]
        standard errors from the finite number of draws alone.
    pool_errors : tuple[float, ...] | None
        standard errors that include the finite pools (delete-a-group jackknife over both); None
        if a pool has no image to spare. As draws overlap, these are the larger ones.
    curve : tuple[float, ...]
        the shares at the paper's levels.
    """

    shares: tuple[float, ...]
    draw_errors: tuple[float, ...]
    pool_errors: tuple[float, ...] | None
    curve: tuple[float, ...]

    def to_rows(self) -> list[dict[str, float | None]]:
        """The shares as plain values.

        Returns
        -------
        list[dict[str, float | None]]
            a row per level.
        """
        wide = self.pool_errors or (None,) * len(LEVELS)
        rows = zip(LEVELS, self.shares, self.draw_errors, wide, strict=True)
        names = ("alpha", "share", "se_draws", "se_pools")
        return [dict(zip(names, row, strict=True)) for row in rows]


def rejections(
    suspect: Floats, reference: Floats, config: DetectionConfig, rng: np.random.Generator
) -> Rejections:
    """Run the resampled one-sided KS test of a model (methods of SIREN, §9.2).

    Null hypothesis of each test: both pools are draws from one distribution. The test looks for a
    gap in the low end of the whole reference, see :mod:`siren_ext.stats.low_end`.

    Parameters
    ----------
    suspect, reference : NDArray[np.float64]
        scores of all images of the model, and of the reference model.
    config : DetectionConfig
        sizes and number of the draws.
    rng : np.random.Generator
        draws the images.

    Returns
    -------
    Rejections
        how often a test accuses the model.
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
            # The draws of these runs add noise of their own; subtract its expectation.
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
    """Mean false accusation rates of many simulated studies whose models are all innocent.

    Attributes
    ----------
    shares : Floats
        a row per simulated study, a column per level of :data:`LEVELS`.
    """

    shares: Floats

    def errors(self) -> Floats:
        """Standard error of a study's mean share.

        Returns
        -------
        NDArray[np.float64]
            one per level.
        """
        return np.asarray(self.shares.std(axis=0, ddof=1))

    def chance(self, observed: ArrayLike) -> Floats:
        """Compute how often chance alone gives a mean share at least as large.

        Parameters
        ----------
        observed : ArrayLike
            the mean share of a study, per level.

        Returns
        -------
        NDArray[np.float64]
            in (0, 1], per level.
        """
        reached = (self.shares >= np.asarray(observed)).sum(axis=0)
        return np.asarray((reached + 1) / (len(self.shares) + 1))


def null_spread(
    config: DetectionConfig, rng: np.random.Generator, *, studies: int = 300
) -> NullSpread:
    """Simulate studies in which innocent and reference scores have exactly one distribution.

    Parameters
    ----------
    config : DetectionConfig
        the study's settings.
    rng : np.random.Generator
        draws the scores.
    studies : int
        how many.

    Returns
    -------
    NullSpread
        their mean shares.

    Notes
    -----
    The tests depend on ranks only, so any continuous distribution gives the same result. The draws
    of a study share their pools and all its models share one reference; so the spread is many times
    that of independent tests, and more draws don't reduce it.
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
    """Average shares over the training seeds.

    Parameters
    ----------
    per_model : ArrayLike
        (models, levels).

    Returns
    -------
    list[dict[str, Any]]
        per level the mean, lowest and highest share, and ``se_seeds``: the standard deviation over
        the models divided by sqrt(models), None for one model.
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
