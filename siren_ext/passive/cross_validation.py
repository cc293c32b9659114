"""Parts that the set tests have in common: folds, out-of-fold scores, and Welch's test of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siren_ext.passive.scorer import scores
from siren_ext.passive.set_config import SetComparison, SetTestConfig

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


def folds(order: Rows, count: int) -> list[Rows]:
    """Rows of both sets in parts of equal size, the first ones larger by one where needed.

    Parameters
    ----------
    order : array, shape (n,)
        Positions within a set.
    count : int
        Number of parts.

    Returns
    -------
    list[array]
        Positions in the joined table of 2n rows; each part has the same rows of both sets.
    """
    parts = np.array_split(order, min(count, len(order) // 2))
    return [np.r_[part, part + len(order)] for part in parts]


def cross_scored(table: Floats, labels: Floats, parts: list[Rows], config: SetTestConfig) -> Floats:
    """Scores of all rows by models that were fitted to the other parts.

    Parameters
    ----------
    table : array, shape (2n, d)
        Features.
    labels : array, shape (b, 2n)
        +1 or -1 for each row, in each of b labellings.
    parts : list[array]
        Of :func:`folds`.
    config : SetTestConfig
        Settings of the scoring model.

    Returns
    -------
    array, shape (b, 2n)
        0 to 1.
    """
    found = np.empty(labels.shape)
    for part in parts:
        rest = np.setdiff1d(np.arange(len(table)), part)
        found[:, part] = scores(
            table[rest], labels[:, rest], table[part], scorer=config.scorer, penalty=config.penalty
        )
    return found


def welch(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Welch's t and its one-sided p, for the alternative that the first mean is larger.

    Parameters
    ----------
    first, second : array, shape (..., n) and (..., m)
        Values; the last axis is averaged.

    Returns
    -------
    tuple[array, array]
        t and p without the last axis. Equal constants give t = 0 and p = 0.5.
    """
    from scipy.special import stdtr

    gap = first.mean(axis=-1) - second.mean(axis=-1)
    parts = [one.var(axis=-1, ddof=1) / one.shape[-1] for one in (first, second)]
    spread = np.maximum(parts[0] + parts[1], 1e-300)
    share = parts[0] / spread
    freedom = 1 / (share**2 / (first.shape[-1] - 1) + (1 - share) ** 2 / (second.shape[-1] - 1))
    t = gap / np.sqrt(spread)
    return t, np.asarray(stdtr(freedom, -t))


def auc_of(first: Floats, second: Floats) -> float:
    """Share of pairs in which the first value is larger; ties count half.

    Parameters
    ----------
    first, second : array, shape (n,) and (m,)
        Values.

    Returns
    -------
    float
        0 to 1.
    """
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, "left") + np.searchsorted(ordered, first, "right")
    return float(below.mean() / (2 * len(second)))


def outcome(
    config: SetTestConfig,
    *,
    p_value: float,
    smallest_p: float,
    statistic: float,
    scored: tuple[Floats, Floats],
    shape: tuple[int, ...],
    repeats: int,
) -> SetComparison:
    """The result of a comparison.

    Parameters
    ----------
    config : SetTestConfig
        Its settings.
    p_value, smallest_p, statistic, repeats
        As in :class:`~siren_ext.passive.set_config.SetComparison`.
    scored : tuple[array, array]
        Scores of published and unpublished images; NaN where there is none.
    shape : tuple[int, int]
        Images per set and features.

    Returns
    -------
    SetComparison
        The result.
    """
    seen = [one[np.isfinite(one)] for one in scored]
    return SetComparison(
        config.mode,
        p_value,
        smallest_p,
        statistic,
        bool(statistic > 0),
        auc_of(seen[0], seen[1]),
        shape[0],
        shape[1],
        repeats,
        *scored,
    )
