"""Exact two-sample Kolmogorov-Smirnov tests, single and resampled ten thousand times.

Notation: F is the empirical distribution function of the n suspect scores, G that of the m
reference scores. A coated image has a *small* score, so the one-sided statistic is
D+ = sup_s (F(s) - G(s)); the paper's is D = sup_s |F(s) - G(s)| (SIREN, arXiv 2410.10437, Eq. 8).

Null hypothesis of every test here: suspect and reference scores are independent draws from one and
the same distribution. A small p says that this is hard to believe. It does not say *why* the two
differ: a model of another style, subject or setting than the reference also breaks the null.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list
from siren_ext.stats.draw import draw_subsets
from siren_ext.stats.low_end import low_end

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Method = Literal["auto", "exact", "asymptotic"]

# Below this a probability is only bounded: floats lose digits near their smallest value.
P_FLOOR = 1e-300
# The largest sample for which "auto" stays exact (also SciPy's rule); beyond, minutes.
AUTO_EXACT_LIMIT = 10_000
_TABLE_LIMIT = 4096
_CELLS = 1 << 18

PAPER_ALPHAS: tuple[float, ...] = tuple(
    float(f"{digit}e-{power}")
    for power in range(1, 21)
    for digit in ((1,) if power == 1 else (5, 1))
)
"""The significance levels of the paper's curves: 1e-1, 5e-2, 1e-2 ... 5e-20, 1e-20."""


@dataclass(frozen=True)
class KsResult:
    """Outcome of one two-sample test.

    ``statistic`` is D in [0, 1]; ``p_value`` the chance of a D at least as large under the null;
    ``n`` and ``m`` the numbers of suspect and reference scores; ``location`` the score at which D
    is reached (None when D is 0); ``ties`` how many of the n + m scores repeat another one;
    ``smallest_p`` the p of complete separation, so no smaller level can ever be met;
    ``alternative`` is "less" (suspect scores are smaller) or "two-sided".

    With ties the p of the continuous case is kept, as SciPy does: it is then an upper bound.
    Values of p below 1e-300 are given as 1e-300, also an upper bound.
    """

    statistic: float
    p_value: float
    n: int
    m: int
    location: float | None
    ties: int
    smallest_p: float
    alternative: Literal["less", "two-sided"]
    method: Literal["exact", "asymptotic"]

    def critical(self, alpha: float) -> float:
        """The smallest D with p <= ``alpha`` for these n and m; infinite if there is none."""
        if not 0 < alpha < 1:
            raise ScoreError(f"alpha is {alpha}; expected a number between 0 and 1.")
        sides = 1 if self.alternative == "less" else 2
        if self.method == "asymptotic":
            value = _asymptotic_critical(alpha, self.n, self.m, sides)
            return value if value <= 1 else math.inf
        lcm = math.lcm(self.n, self.m)
        gap = critical_gap(alpha, self.n, self.m, sides)
        return gap / lcm if gap <= lcm else math.inf

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ResampleResult:
    """p-values of many tests on random subsets, and the share of them that reach a level.

    ``p_values`` has shape (repeats,); ``size`` and ``reference_size`` are the subset sizes;
    ``redrawn`` tells whether every test had its own reference subset.
    """

    p_values: Floats
    size: int
    reference_size: int
    redrawn: bool

    def tpr(self, alphas: ArrayLike = PAPER_ALPHAS) -> Floats:
        """Share of the tests with p <= alpha, for each alpha; shape of ``alphas``.

        On a guilty suspect this estimates the detection rate, on an innocent one the rate of false
        accusation. The subsets overlap, so the spread over subsets is smaller than the spread over
        newly generated images or newly trained models.
        """
        levels = np.asarray(alphas, dtype=np.float64)
        ordered = np.sort(self.p_values)
        return np.asarray(np.searchsorted(ordered, levels, side="right") / len(ordered))


def ks_less(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    method: Method = "auto",
    share: float = 1.0,
) -> KsResult:
    """One-sided test against "the suspect's scores are smaller" (the mark of a coating).

    Equal to ``scipy.stats.ks_2samp(suspect, reference, alternative="greater")``: SciPy's word means
    that the first distribution function lies above.

    Null hypothesis: both samples come from one distribution. A small p does not show *why* the
    suspect scores lower, and p is not the probability that the model is innocent.
    ``method``: "exact" counts lattice paths (Hodges 1958), "asymptotic" uses Hodges' Eq. 5.3,
    "auto" is exact up to 10,000 scores a side. ``share`` below 1 looks for D in the low end of the
    reference alone, see :func:`siren_ext.stats.low_end.low_end`. Raises :class:`ScoreError` on
    empty or non-finite scores.
    """
    return _test(suspect, reference, sides=1, method=method, share=share)


def ks_two_sided(suspect: ArrayLike, reference: ArrayLike, *, method: Method = "auto") -> KsResult:
    """The paper's two-sided test (Eq. 8), D = sup |F - G|.

    Null hypothesis as in :func:`ks_less`; here scores that are *larger* count as evidence too,
    which a coating can't cause, so a small p alone doesn't point at a coating. Equal to SciPy's
    ``alternative="two-sided"``.
    """
    return _test(suspect, reference, sides=2, method=method)


def critical_gap(alpha: float, n: int, m: int, sides: int = 1) -> int:
    """The least integer h with exact p <= ``alpha`` at D = h / lcm(n, m).

    lcm(n, m) + 1, which no sample reaches, where even complete separation isn't enough.
    """
    low, high = 0, math.lcm(n, m) + 1  # p(low) > alpha >= p(high); beyond lcm p is 0
    while high - low > 1:  # several probes at once cost little more than one
        probes = np.unique(np.linspace(low, high, 26)[1:-1].astype(np.int64))
        probes = probes[probes > low]
        met = np.append(_tail(probes, n, m, sides) <= alpha, True)
        first = int(np.argmax(met))
        low, high = (
            int(probes[first - 1]) if first else low,
            int(probes[first]) if first < len(probes) else high,
        )
    return high


def asymptotic_threshold(alpha: float, n: int, m: int, *, two_sided: bool = False) -> float:
    """The paper's rejection threshold for D, Eq. 8: c(alpha) sqrt((n + m) / (n m)).

    c(alpha) = sqrt(-ln(alpha / 2) / 2) for the two-sided test, sqrt(-ln(alpha) / 2) for one side.
    It is first-order asymptotic; :meth:`KsResult.critical` is exact.
    """
    constant = math.sqrt(-0.5 * math.log(alpha / 2 if two_sided else alpha))
    return constant * math.sqrt((n + m) / (n * m))


def resampled_ks(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    size: int = 30,
    repeats: int = 10_000,
    reference_size: int | None = None,
    redraw_reference: bool = True,
    two_sided: bool = False,
    share: float = 1.0,
    rng: np.random.Generator,
) -> ResampleResult:
    """The paper's study: test ``repeats`` random subsets of ``size`` suspect scores.

    Each test compares ``size`` suspect scores with ``reference_size`` reference scores (default
    the smaller of 300 and all there are), both drawn *without* replacement; with replacement would
    fake evidence. ``redraw_reference`` draws a new reference subset for every test (an honest
    spread); False draws one subset and keeps it, as the published code does.

    The exact p of every test equals that of :func:`ks_less` (or :func:`ks_two_sided`) on the same
    subset. With ``share`` below 1 the gap is looked for in the low end of the whole reference pool
    (:func:`siren_ext.stats.low_end.low_end`), which is meant for the one-sided test.
    Null hypothesis and limits are those of :func:`ks_less`. Raises :class:`ScoreError` when a pool
    is smaller than its subset.
    """
    suspects, references = (
        np.sort(finite_list(suspect, "suspect scores")),
        np.sort(finite_list(reference, "reference scores")),
    )
    if share != 1:
        suspects, references = low_end(suspects, references, share)
    total = len(references)
    m = min(300, total) if reference_size is None else reference_size
    for name, want, have in (("suspect", size, len(suspects)), ("reference", m, total)):
        if not 1 <= want <= have:
            raise ScoreError(
                f"Subsets of {want} {name} scores were asked for, but there are {have}; "
                f"choose a size from 1 to {have} or generate more images."
            )
    if repeats < 1:
        raise ScoreError(f"repeats is {repeats}; expected at least 1.")
    if m < total and not redraw_reference:
        references = references[draw_subsets(1, total, m, rng)[0]]
    fresh = m < len(references)

    a, b = _weights(size, m)
    ranks = a * np.arange(1, size + 1, dtype=np.int64)
    # How many reference scores lie at or below (and strictly below) each suspect score: the only
    # comparison of scores that is ever made.
    at_or_below = np.searchsorted(references, suspects, side="right")
    below = np.searchsorted(references, suspects, side="left")

    gaps = np.empty(repeats, dtype=np.int64)
    rows = max(1, (1 << 22) // (len(suspects) + len(references)))
    for start in range(0, repeats, rows):
        count = min(rows, repeats - start)
        chosen = draw_subsets(count, len(suspects), size, rng)
        picked = np.nonzero(chosen)[1].reshape(count, size)  # ascending in each row
        upper, lower = at_or_below[picked], below[picked]
        if fresh:
            kept = np.zeros((count, total + 1), dtype=np.int64)
            np.cumsum(draw_subsets(count, total, m, rng), axis=1, out=kept[:, 1:])
            upper = np.take_along_axis(kept, upper, axis=1)
            lower = np.take_along_axis(kept, lower, axis=1) if two_sided else upper
        # Inside a run of tied suspects only its last member sees the full F (its first the full
        # F-), the others give less, so the maximum is right without treating ties apart.
        gap = (ranks - b * upper).max(axis=1)
        if two_sided:
            gap = np.maximum(gap, (b * lower - ranks + a).max(axis=1))
        gaps[start : start + count] = np.maximum(gap, 0)
    p_values = _p_exact(gaps, size, m, 2 if two_sided else 1)
    return ResampleResult(p_values, size, m, redraw_reference and m < total)


def _weights(n: int, m: int) -> tuple[int, int]:
    """F - G in units of 1 / lcm(n, m): what one suspect adds and one reference score takes."""
    common = math.gcd(n, m)
    return m // common, n // common


def _test(
    suspect: ArrayLike, reference: ArrayLike, *, sides: int, method: Method, share: float = 1.0
) -> KsResult:
    if method not in ("auto", "exact", "asymptotic"):
        raise ScoreError(f"method is {method!r}; expected 'auto', 'exact' or 'asymptotic'.")
    first, second = (
        np.sort(finite_list(suspect, "suspect scores")),
        np.sort(finite_list(reference, "reference scores")),
    )
    n, m = len(first), len(second)
    # counted before the low end is cut off, which makes ties that say nothing of the scores
    ties = n + m - len(np.unique(np.concatenate([first, second])))
    if share != 1:
        first, second = low_end(first, second, share)
    a, b = _weights(n, m)
    points = np.concatenate([first, second])
    points.sort()
    gap = a * np.searchsorted(first, points, side="right").astype(np.int64)
    gap -= b * np.searchsorted(second, points, side="right").astype(np.int64)
    if sides == 2:
        gap = np.abs(gap)
    best = int(np.argmax(gap))
    h = max(int(gap[best]), 0)
    exact = method == "exact" or (method == "auto" and max(n, m) <= AUTO_EXACT_LIMIT)
    lcm = math.lcm(n, m)
    if exact:
        p = float(_p_exact(np.array([h]), n, m, sides)[0])
    else:
        p = _p_asymptotic(h / lcm, n, m, sides)
    return KsResult(
        statistic=h / lcm,
        p_value=p,
        n=n,
        m=m,
        location=float(points[best]) if h > 0 else None,
        ties=ties,
        smallest_p=_smallest_p(n, m, sides) if exact else _p_asymptotic(1.0, n, m, sides),
        alternative="less" if sides == 1 else "two-sided",
        method="exact" if exact else "asymptotic",
    )


def _smallest_p(n: int, m: int, sides: int) -> float:
    """p of complete separation: ``sides`` of all C(n + m, n) orders, at most 1."""
    log_orders = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    exact = sides / math.comb(n + m, n) if n + m <= 1000 else sides * math.exp(-log_orders)
    return min(1.0, max(exact, P_FLOOR))


def _p_exact(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    """P(D >= gap / lcm(n, m)) for each integer gap."""
    if math.lcm(n, m) <= _TABLE_LIMIT and len(gaps) > 1:
        return _table(n, m, sides)[gaps]
    distinct, inverse = np.unique(gaps, return_inverse=True)
    return _tail(distinct, n, m, sides)[inverse]


@lru_cache(maxsize=32)
def _table(n: int, m: int, sides: int) -> Floats:
    table = _tail(np.arange(math.lcm(n, m) + 1), n, m, sides)
    table.flags.writeable = False
    return table


def _tail(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    """Exact tail of D for several gaps at once, in units of 1 / lcm(n, m).

    Under the null every order of the n + m scores is equally likely, so reading them in ascending
    order is a random walk that draws suspects (+a) and references (-b) without replacement.
    p is the probability that the walk ever reaches the gap. All terms are positive and the absorbed
    ones are summed directly, so that tiny p keep their digits (1 - P(inside) would lose them).
    """
    if n > m:  # both tails are symmetric in (n, m); the shorter side makes the shorter rows
        n, m = m, n
    p = np.ones(len(gaps))
    inner = np.flatnonzero(gaps > 0)
    rows = max(1, _CELLS // (n + 1))
    for start in range(0, len(inner), rows):
        part = inner[start : start + rows]
        p[part] = _absorbed(gaps[part], n, m, sides)
    p[gaps > math.lcm(n, m)] = 0.0
    inside = (gaps > 0) & (gaps <= math.lcm(n, m))
    p[inside] = np.clip(p[inside], P_FLOOR, 1.0)
    return p


def _absorbed(gaps: Ints, n: int, m: int, sides: int) -> Floats:
    a, b = _weights(n, m)
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


def _p_asymptotic(d: float, n: int, m: int, sides: int) -> float:
    if d <= 0:
        return 1.0
    large, small = float(max(n, m)), float(min(n, m))
    effective = large * small / (large + small)
    if sides == 2:
        from scipy.stats import kstwo

        p = float(kstwo.sf(d, round(effective)))
    else:  # Hodges (1958), Eq. 5.3
        z = math.sqrt(effective) * d
        p = math.exp(-2 * z * z - 2 * z * _hodges(large, small))
    return min(1.0, max(p, P_FLOOR))


def _hodges(large: float, small: float) -> float:
    return (large + 2 * small) / math.sqrt(large * small * (large + small)) / 3


def _asymptotic_critical(alpha: float, n: int, m: int, sides: int) -> float:
    large, small = float(max(n, m)), float(min(n, m))
    effective = large * small / (large + small)
    if sides == 2:
        from scipy.stats import kstwo

        return float(kstwo.isf(alpha, round(effective)))
    shift = _hodges(large, small)
    return (math.sqrt(shift * shift - 2 * math.log(alpha)) - shift) / 2 / math.sqrt(effective)
