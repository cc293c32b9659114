"""How many images a test needs: plans by simulation, made before the suspect generates anything.

A plan needs an estimate of the effect: a number, or pilot scores of a model that the owner trained
on coated images. A plan is not evidence, and its pilot images must not be used as evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level
from siren_ext.stats.ks import AUTO_EXACT_LIMIT
from siren_ext.stats.ks_distribution import asymptotic_critical
from siren_ext.stats.low_end import LOW_END, low_end_count
from siren_ext.stats.low_end_distribution import low_end_critical_gap

Floats = NDArray[np.float64]
Sampler = Callable[[tuple[int, int], np.random.Generator], Floats]

DRAWS = 1000
LIMIT = 4096
_CELLS = 1 << 20
# Each n is first tried with _QUICK tests. If the power falls short by _FAR, which is 6 standard
# errors, n is rejected without the remaining tests.
_QUICK = 200
_FAR = 0.2
# The n that the search finds is one whose simulation was lucky. Its power is simulated afresh with
# so many times the tests, and n raised by 2 % until the fresh power suffices or n is the limit.
_AFRESH = 8


@dataclass(frozen=True)
class SizePlan:
    """The number of images that gives the wanted power.

    Attributes
    ----------
    images : int or None
        Number of suspect images; None if ``limit`` images do not suffice.
    power : float
        Simulated chance of rejection with ``images``, or with ``limit`` if that is None.
    error : float
        Standard error of ``power``.
    target : float
        The wanted power.
    alpha : float
        Accepted risk of a false accusation.
    references : int
        Number of reference images; 0 for the keyed test.
    effect : float
        For scores: by how many standard deviations they are lowered. For the keyed test: the mean
        contribution divided by its standard deviation between images.
    limit : int
        The largest number of images considered.
    curve : tuple of (int, float)
        Each number of images that was tried and its power, in ascending order.
    """

    images: int | None
    power: float
    error: float
    target: float
    alpha: float
    references: int
    effect: float
    limit: int
    curve: tuple[tuple[int, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Effect:
    """By how many standard deviations pilot scores are lowered, with the uncertainty.

    Attributes
    ----------
    value : float
        (mean reference - mean suspect) / pooled standard deviation.
    low : float
        Lower end of the one-sided 90 % confidence interval, for a cautious plan.
    """

    value: float
    low: float


def pilot_effect(suspect: ArrayLike, reference: ArrayLike) -> Effect:
    """The standardised difference of pilot scores (Cohen's d) and its lower 90 % limit.

    For planning only: it is not a test and has no null hypothesis.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Scores of a model trained on coated images, n at least 3.
    reference : array_like, shape (m,)
        Scores of an innocent model, m at least 3.

    Raises
    ------
    ScoreError
        If there are too few scores, some are not finite, or all are equal.

    Notes
    -----
    The standard error is sqrt((n + m) / (n m) + d^2 / (2 (n + m))), for roughly normal scores.

    References
    ----------
    Hedges and Olkin (1985), Statistical Methods for Meta-Analysis, Eq. 5.14.
    """
    first, second = _pilot(suspect, reference)
    n, m = len(first), len(second)
    pooled = ((n - 1) * first.var(ddof=1) + (m - 1) * second.var(ddof=1)) / (n + m - 2)
    if not pooled > 0:
        raise ScoreError("All pilot scores are equal; expected scores of different images.")
    value = float((second.mean() - first.mean()) / math.sqrt(pooled))
    error = math.sqrt((n + m) / (n * m) + value**2 / (2 * (n + m)))
    return Effect(value, value - 1.2816 * error)


def plan_size(
    effect: float,
    *,
    alpha: float = 1e-6,
    power: float = 0.95,
    references: int = 300,
    share: float = LOW_END,
    draws: int = DRAWS,
    limit: int = LIMIT,
    rng: np.random.Generator,
) -> SizePlan:
    """Number of suspect images for the one-sided KS test, assuming normal scores.

    The planned test's null hypothesis is that of :func:`siren_ext.stats.ks.ks_less`. The plan
    assumes that a coating lowers normal scores by ``effect`` standard deviations and leaves their
    spread unchanged; for skewed scores use :func:`plan_from_pilot`. Power is the share of simulated
    tests that reject at ``alpha``, with the p that a verdict takes (``method="auto"``).

    Parameters
    ----------
    effect : float
        Lowering in standard deviations, in (0, 20).
    alpha : float
        Accepted risk of a false accusation, in (0, 1).
    power : float
        Wanted chance of detecting a guilty model, in (0, 1).
    references : int
        Number of reference images, m.
    share : float
        Share of the reference's scores, from the lowest, in which the test looks for the largest
        gap, in (0, 1]; the default is that of a verdict. See :func:`siren_ext.stats.ks.ks_less`.
    draws : int
        Simulated tests per number of images tried, and eight times as many for the result, whose
        standard error is at most 0.18 / sqrt(draws).
    limit : int
        The largest number of images to consider.
    rng : numpy.random.Generator
        Draws the scores.

    Raises
    ------
    ScoreError
        If a setting is out of range.
    """
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")

    def lowered(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        return rng.normal(-effect, 1, shape)

    return _plan_ks(lowered, _standard, effect, alpha, power, references, share, draws, limit, rng)


def plan_from_pilot(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    alpha: float = 1e-6,
    power: float = 0.95,
    references: int | None = None,
    share: float = LOW_END,
    draws: int = DRAWS,
    limit: int = LIMIT,
    rng: np.random.Generator,
) -> SizePlan:
    """Number of suspect images for the one-sided KS test, from pilot scores of any distribution.

    Simulated scores are drawn from the pilot's with replacement, which is acceptable for a plan but
    not for a test. A pilot of few images gives a rough plan; see :attr:`Effect.low`.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Scores of a model trained on coated images, n at least 3.
    reference : array_like, shape (m,)
        Scores of an innocent model, m at least 3.
    references : int or None
        Number of reference images to plan for; None takes m.
    alpha, power, share, draws, limit, rng
        As in :func:`plan_size`.

    Raises
    ------
    ScoreError
        If the pilot is too small or has no spread, or a setting is out of range.
    """
    first, second = _pilot(suspect, reference)
    m = len(second) if references is None else references
    effect = pilot_effect(first, second).value

    def again(pool: Floats) -> Sampler:
        return lambda shape, rng: rng.choice(pool, shape)

    return _plan_ks(again(first), again(second), effect, alpha, power, m, share, draws, limit, rng)


def _standard(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Standard normal scores."""
    return rng.standard_normal(shape)


def _pilot(suspect: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    """The pilot's scores, at least 3 of each."""
    first = finite_list(suspect, "pilot suspect scores")
    second = finite_list(reference, "pilot reference scores")
    if min(len(first), len(second)) < 3:
        raise ScoreError(
            f"The pilot has {len(first)} suspect and {len(second)} reference scores; expected at "
            "least 3 of each, preferably 30."
        )
    return first, second


def _plan_ks(
    suspects: Sampler,
    references: Sampler,
    effect: float,
    alpha: float,
    power: float,
    m: int,
    share: float,
    draws: int,
    limit: int,
    rng: np.random.Generator,
) -> SizePlan:
    """A plan for the one-sided KS test, for scores drawn by two samplers."""
    level(alpha)
    if m < 1:
        raise ScoreError(f"references is {m}; expected at least 1.")
    count = low_end_count(m, share)

    def rejected(n: int, tests: int) -> int:
        wall = _least_gap(alpha, n, m, count)
        if wall > math.lcm(n, m):
            return 0
        up, down = m // math.gcd(n, m), n // math.gcd(n, m)
        rows, hits = max(1, _CELLS // (n + m)), 0
        for start in range(0, tests, rows):
            block = min(rows, tests - start)
            # references first, so that a stable sort reads ties against the owner
            pools = references((block, m), rng), suspects((block, n), rng)
            order = np.concatenate(pools, axis=1).argsort(axis=1, kind="stable")
            suspect = order >= m
            walk = np.cumsum(np.where(suspect, up, -down), axis=1)
            below = np.cumsum(~suspect, axis=1) < count
            hits += int((below & (walk >= wall)).any(axis=1).sum())
        return hits

    return search_size(rejected, power, alpha, m, effect, draws, limit)


def _least_gap(alpha: float, n: int, m: int, count: int) -> int:
    """The smallest gap, in units of 1 / lcm(n, m), with which a verdict's test rejects."""
    if max(n, m) <= AUTO_EXACT_LIMIT:
        return low_end_critical_gap(alpha, n, m, count)
    # rounded before it is rounded up: a gap whose p is alpha itself is enough
    return math.ceil(round(asymptotic_critical(alpha, n, m, 1) * math.lcm(n, m), 6))


def search_size(
    rejected: Callable[[int, int], int],
    target: float,
    alpha: float,
    references: int,
    effect: float,
    draws: int,
    limit: int,
) -> SizePlan:
    """The smallest number of images with enough power, found by doubling and then bisection.

    Apart from simulation noise and the steps of an exact test, power grows with n; up to these, the
    result is the smallest n. Its power is that of fresh simulations, which the search did not see.

    Parameters
    ----------
    rejected : callable
        ``rejected(n, tests)`` is the number of rejections in ``tests`` simulated tests of n images.
    target : float
        Wanted power, in (0, 1).
    alpha, references, effect
        Copied into the plan.
    draws : int
        Simulated tests per number of images tried; eight times as many for the result.
    limit : int
        The largest number of images to consider.

    Raises
    ------
    ScoreError
        If ``target``, ``draws`` or ``limit`` is out of range.
    """
    level(target, "power")
    if draws < 1 or limit < 1:
        raise ScoreError(f"draws is {draws} and limit {limit}; expected at least 1.")
    curve: dict[int, float] = {}
    used: dict[int, int] = {}

    def enough(n: int) -> bool:
        few = min(_QUICK, draws)
        hits, used[n] = rejected(n, few), few
        if hits / few > target - _FAR and draws > few:  # near enough for all draws
            hits, used[n] = hits + rejected(n, draws - few), draws
        curve[n] = hits / used[n]
        return curve[n] >= target

    low, high = 0, 1
    while not enough(high) and high < limit:
        low, high = high, min(limit, 2 * high)
    while curve[high] >= target and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    while True:
        used[high] = _AFRESH * draws
        curve[high] = rejected(high, used[high]) / used[high]
        if curve[high] >= target or high == limit:
            break
        high = min(limit, high + max(1, high // 50))
    reached = curve[high]
    return SizePlan(
        images=high if reached >= target else None,
        power=reached,
        error=math.sqrt(reached * (1 - reached) / used[high]),
        target=target,
        alpha=alpha,
        references=references,
        effect=effect,
        limit=limit,
        curve=tuple(sorted(curve.items())),
    )
