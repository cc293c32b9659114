"""The keyed test's p over all messages: exact for whole numbers, and upper bounds for others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.stats.ks_distribution import P_FLOOR

_GRID = 1 << 14  # grid steps in message_tail


def hoeffding_bound(summed: ArrayLike, statistic: float) -> float:
    """Upper bound of P(m . F >= s) over uniform m: exp(-s^2 / (2 |F|^2)).

    Null hypothesis: see :mod:`siren_ext.stats.keyed`.

    Parameters
    ----------
    summed : array_like, shape (k,)
        F.
    statistic : float
        s.

    Returns
    -------
    float
        From 1e-300 to 1; 1 if s <= 0.

    References
    ----------
    Hoeffding (1963), JASA 58, Theorem 2, with terms in [-|F_j|, |F_j|].
    """
    F = np.abs(np.asarray(summed, dtype=np.float64))
    largest = float(F.max(initial=0.0))
    if statistic <= 0 or largest == 0:
        return 1.0
    ratio = statistic / largest / math.sqrt(float(np.sum((F / largest) ** 2)))
    return max(math.exp(-0.5 * ratio * ratio), P_FLOOR)


def message_tail(summed: ArrayLike, statistic: float) -> float:
    """Share of all 2^k messages with m . F >= s, found by counting; never too small.

    Null hypothesis: see :mod:`siren_ext.stats.keyed`.

    Parameters
    ----------
    summed : array_like, shape (k,)
        F.
    statistic : float
        s.

    Returns
    -------
    float
        An upper bound from 1e-300 to 1, a few percent above the exact share. Deterministic.

    Notes
    -----
    Each |F_j| is rounded to a fine grid, on which the distribution of the sum is a convolution of k
    two-point distributions. The most that rounding can change is subtracted from s, which makes the
    result an upper bound. The cost is O(k x grid).

    References
    ----------
    Fisher's randomisation test for a weighted sum of signs; Pagano and Tritchler (1983), JASA 78,
    for the counting.
    """
    F = np.abs(np.asarray(summed, dtype=np.float64))
    total = float(F.sum())
    if total == 0 or statistic <= -total:
        return 1.0
    step = total / _GRID
    whole = np.rint(F / step).astype(np.int64)
    slack = float(np.abs(F - whole * step).sum()) + 1e-9 * total
    size = int(whole.sum())
    # m . whole = 2 X - size, where X is the sum of the entries whose sign is right
    need = math.ceil((math.floor((statistic - slack) / step) + size) / 2)
    if need <= 0:
        return 1.0
    mass = np.zeros(size + 1)
    mass[0] = 1.0
    filled = 0
    for shift in np.sort(whole):
        part = mass[: filled + 1] * 0.5
        mass[: filled + 1] = part
        mass[shift : shift + filled + 1] += part
        filled += int(shift)
    tail = float(np.sort(mass[min(need, size) :]).sum())
    return min(1.0, max(tail, P_FLOOR))


def whole_distribution(strengths: ArrayLike) -> NDArray[np.float64]:
    """Distribution of m . F over all 2^k messages m, for whole numbers F.

    Null hypothesis: see :mod:`siren_ext.stats.keyed`.

    Parameters
    ----------
    strengths : array_like, shape (k,)
        |F_j|, whole numbers from 0.

    Returns
    -------
    array, shape (span + 1,)
        Entry i is the share of messages with m . F = 2 i - span, where span is the sum of |F|.

    Notes
    -----
    The sum of k two-point distributions, one convolution each; the cost is O(k x span). Only
    positive numbers are added, so the relative error of an entry is at most k x 1.2e-16.

    References
    ----------
    Pagano and Tritchler (1983), JASA 78.
    """
    whole = np.sort(np.asarray(strengths, dtype=np.int64))
    mass = np.zeros(int(whole.sum()) + 1)
    mass[0] = 1.0
    filled = 0
    for shift in whole:
        part = mass[: filled + 1] * 0.5
        mass[: filled + 1] = part
        mass[shift : shift + filled + 1] += part
        filled += int(shift)
    return mass


def share_of_messages(distribution: NDArray[np.float64], statistic: int) -> float:
    """P(m . F >= s) over uniform m, exact.

    Null hypothesis: see :mod:`siren_ext.stats.keyed`.

    Parameters
    ----------
    distribution : array, shape (span + 1,)
        Of :func:`whole_distribution`.
    statistic : int
        s.

    Returns
    -------
    float
        From 1e-300 to 1.
    """
    need = max(0, (statistic + len(distribution)) // 2)
    tail = math.fsum(distribution[need:])
    return min(1.0, max(tail, P_FLOOR))
