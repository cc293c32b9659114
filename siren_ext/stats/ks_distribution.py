"""The null distribution of the two-sample Kolmogorov-Smirnov statistic: p-values and thresholds.

n and m are the sample sizes and D the largest gap between the two empirical distribution functions.
D is always a multiple of 1 / lcm(n, m), so the exact functions take it as the integer
``gap`` = D lcm(n, m). ``sides`` is 1 for the one-sided D+ and 2 for the two-sided D.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from siren_ext.stats.checks import level

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Smaller probabilities are reported as this bound: floats lose digits near their smallest value.
P_FLOOR = 1e-300
_TABLE_LIMIT = 4096
_CELLS = 1 << 18


def step_weights(n: int, m: int) -> tuple[int, int]:
    """Steps of F - G in units of 1 / lcm(n, m): up per suspect score, down per reference score."""
    common = math.gcd(n, m)
    return m // common, n // common


def exact_p(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    """Exact P(D >= gap / lcm(n, m)) under the null.

    Parameters
    ----------
    gaps : int array, shape (k,)
        Gaps in units of 1 / lcm(n, m), not negative.
    n, m : int
        Sample sizes.
    sides : {1, 2}
        One-sided or two-sided.

    Returns
    -------
    array, shape (k,)
        Values in [1e-300, 1].

    References
    ----------
    Hodges (1958), "The significance probability of the Smirnov two-sample test", Ark. Mat. 3
    (counting lattice paths).
    """
    if math.lcm(n, m) <= _TABLE_LIMIT and len(gaps) > 1:
        return exact_table(n, m, sides)[gaps]
    distinct, inverse = np.unique(gaps, return_inverse=True)
    return exact_tail(distinct, n, m, sides)[inverse]


@lru_cache(maxsize=32)
def exact_table(n: int, m: int, sides: int) -> Floats:
    """Exact p of every gap from 0 to lcm(n, m); read-only, shape (lcm(n, m) + 1,)."""
    table = exact_tail(np.arange(math.lcm(n, m) + 1), n, m, sides)
    table.flags.writeable = False
    return table


def exact_tail(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    """The calculation behind :func:`exact_p`; same arguments and result.

    Under the null every order of the n + m scores is equally likely, so reading them in ascending
    order is a random walk that draws suspects (+a) and references (-b) without replacement, and p
    is the probability that the walk ever reaches the gap. All terms are positive and the absorbed
    ones are summed directly, so tiny p keep their digits (1 - P(inside) would lose them). For n = m
    reflection counts the orders in closed form.
    """
    if n > m:  # both tails are symmetric in (n, m); the shorter side makes the shorter rows
        n, m = m, n
    p = np.ones(len(gaps))
    inside = np.flatnonzero((gaps > 0) & (gaps <= math.lcm(n, m)))
    if n == m:
        p[inside] = _reflected(gaps[inside], n, sides)
    else:
        rows = max(1, _CELLS // (n + 1))
        for start in range(0, len(inside), rows):
            part = inside[start : start + rows]
            p[part] = _absorbed(gaps[part], n, m, sides)
    p[gaps > math.lcm(n, m)] = 0.0
    p[inside] = np.clip(p[inside], P_FLOOR, 1.0)
    return p


def smallest_exact_p(n: int, m: int, sides: int) -> float:
    """Exact p of complete separation: ``sides`` of the C(n + m, n) orders, from 1e-300 to 1."""
    log_orders = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    exact = sides / math.comb(n + m, n) if n + m <= 1000 else sides * math.exp(-log_orders)
    return min(1.0, max(exact, P_FLOOR))


def critical_gap(alpha: float, n: int, m: int, sides: int = 1) -> int:
    """The smallest integer gap with exact p <= ``alpha``.

    Parameters
    ----------
    alpha : float
        Significance level in (0, 1).
    n, m : int
        Sample sizes.
    sides : {1, 2}
        One-sided or two-sided.

    Returns
    -------
    int
        In units of 1 / lcm(n, m). If even complete separation has a larger p, lcm(n, m) + 1, which
        no pair of samples reaches.
    """
    low, high = 0, math.lcm(n, m) + 1  # p(low) > alpha >= p(high); beyond lcm p is 0
    while high - low > 1:  # several probes at once cost little more than one
        probes = np.unique(np.linspace(low, high, 26)[1:-1].astype(np.int64))
        probes = probes[probes > low]
        met = np.append(exact_tail(probes, n, m, sides) <= alpha, True)
        first = int(np.argmax(met))
        low, high = (
            int(probes[first - 1]) if first else low,
            int(probes[first]) if first < len(probes) else high,
        )
    return high


def asymptotic_threshold(alpha: float, n: int, m: int, *, two_sided: bool = False) -> float:
    """The paper's rejection threshold for D: c(alpha) sqrt((n + m) / (n m)).

    It is a first-order approximation; :meth:`siren_ext.stats.ks.KsResult.critical` is exact.

    Parameters
    ----------
    alpha : float
        Significance level in (0, 1).
    n, m : int
        Sample sizes.
    two_sided : bool
        c(alpha) is sqrt(-ln(alpha / 2) / 2) if set, else sqrt(-ln(alpha) / 2).

    Raises
    ------
    ScoreError
        If ``alpha`` is out of range.

    References
    ----------
    SIREN (arXiv 2410.10437), Eq. 8.
    """
    constant = math.sqrt(-0.5 * math.log(level(alpha) / 2 if two_sided else level(alpha)))
    return constant * math.sqrt((n + m) / (n * m))


def asymptotic_p(d: float, n: int, m: int, sides: int) -> float:
    """Approximate P(D >= ``d``) under the null, from 1e-300 to 1.

    Parameters
    ----------
    d : float
        The largest gap, in [0, 1].
    n, m : int
        Sample sizes.
    sides : {1, 2}
        One-sided or two-sided.

    References
    ----------
    One-sided: Hodges (1958), Ark. Mat. 3, Eq. 5.3. Two-sided: the one-sample distribution
    (``scipy.stats.kstwo``) with n m / (n + m) scores.
    """
    if d <= 0:
        return 1.0
    large, small = float(max(n, m)), float(min(n, m))
    effective = large * small / (large + small)
    if sides == 2:
        from scipy.stats import kstwo

        p = float(kstwo.sf(d, round(effective)))
    else:
        z = math.sqrt(effective) * d
        p = math.exp(-2 * z * z - 2 * z * _hodges(large, small))
    return min(1.0, max(p, P_FLOOR))


def asymptotic_critical(alpha: float, n: int, m: int, sides: int) -> float:
    """The D at which :func:`asymptotic_p` is ``alpha``; it can exceed 1."""
    large, small = float(max(n, m)), float(min(n, m))
    effective = large * small / (large + small)
    if sides == 2:
        from scipy.stats import kstwo

        return float(kstwo.isf(alpha, round(effective)))
    shift = _hodges(large, small)
    return (math.sqrt(shift * shift - 2 * math.log(alpha)) - shift) / 2 / math.sqrt(effective)


def _absorbed(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    """Probability that the walk reaches each gap; see :func:`exact_tail`."""
    a, b = step_weights(n, m)
    drawn = np.arange(n + 2, dtype=np.float64)  # suspects drawn so far
    # The last column is never reached: walls outside the walk's range point there.
    state = np.zeros((len(gaps), n + 2))
    state[:, 0] = 1.0
    moved = np.empty_like(state)
    hit = np.zeros(len(gaps))
    every = np.arange(len(gaps))
    for step in range(1, n + m + 1):
        left = n + m - step + 1
        np.multiply(state, (n - drawn) / left, out=moved)
        state *= (m - step + 1 + drawn) / left
        state[:, 1:] += moved[:, :-1]
        # A walk enters the absorbing side one column at a time: only the boundary column can
        # have received mass in this step.
        wall = np.minimum((gaps + (b * step + a + b - 1)) // (a + b), n + 1)
        hit += state[every, wall]
        state[every, wall] = 0.0
        if sides == 2:
            wall = np.maximum((b * step - gaps) // (a + b), -1)  # -1 is the last column
            hit += state[every, wall]
            state[every, wall] = 0.0
    return hit


def _reflected(gaps: Ints, n: int, sides: int) -> Floats:
    """Exact p of gaps from 1 to n for two samples of n scores.

    A share of q(h) = C(2n, n + h) / C(2n, n) of all orders reaches h on one side. For two sides p
    is 2 (q(h) - q(2h) + q(3h) - ...).
    """
    steps = np.arange(1, n + 1)
    reach: Floats = np.asarray(np.cumprod((n + 1 - steps) / (n + steps)), dtype=np.float64)
    if sides == 1:
        return reach[gaps - 1]
    found = [reach[h - 1 :: 2 * h].sum() - reach[2 * h - 1 :: 2 * h].sum() for h in gaps.tolist()]
    return np.array([2 * p for p in found], dtype=np.float64)


def _hodges(large: float, small: float) -> float:
    """The correction term of Hodges' Eq. 5.3."""
    return (large + 2 * small) / math.sqrt(large * small * (large + small)) / 3
