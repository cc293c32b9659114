"""How many images does a test need? Plans by simulation, made before the suspect is asked.

A plan needs an idea of the effect: a number, or pilot scores of a model that the owner trained on
coated images himself. A plan is no evidence, and its pilot images must not be used as such.
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
from siren_ext.stats.ks import critical_gap
from siren_ext.stats.sequential import (
    log_rank_evidence,
    look_schedule,
    references_above,
    shape_bets,
)

Floats = NDArray[np.float64]
Sampler = Callable[[tuple[int, int], np.random.Generator], Floats]

DRAWS = 1000
LIMIT = 4096
_CELLS = 1 << 20
# Tests of a first look at each n, and the shortfall (6 standard errors) that settles it.
_QUICK = 200
_FAR = 0.2


@dataclass(frozen=True)
class SizePlan:
    """How many images give the wanted power.

    Attributes
    ----------
    images : int or None
        The number of suspect images; None when ``limit`` images do not suffice.
    power : float
        Simulated chance of rejection with that many (with ``limit`` where ``images`` is None).
    error : float
        Standard error of ``power``.
    target, alpha : float
        The wanted power, and the accepted risk of a false accusation.
    references : int
        Reference images, 0 for the keyed test.
    effect : float
        For scores: by how many standard deviations they are lowered. For the keyed test: the mean
        contribution over its standard deviation between images.
    limit : int
        The largest number of images considered.
    curve : tuple of (int, float)
        Every number of images that was tried, with its power; ascending.
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
class SequentialPlan:
    """When the sequential test stops, if the effect is as planned.

    Attributes
    ----------
    median, most : int or None
        Images after which half, and nine tenths, of the tests have rejected; None if fewer do
        within ``limit``.
    power : float
        Share that has rejected within ``limit`` images.
    alpha : float
        The accepted risk, over all images together.
    limit : int
        Images after which a test gives up.
    """

    median: int | None
    most: int | None
    power: float
    alpha: float
    limit: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Effect:
    """The lowering of pilot scores in standard deviations, with its uncertainty.

    Attributes
    ----------
    value : float
        (mean reference - mean suspect) / pooled standard deviation.
    low : float
        Lower end of the one-sided 90 % confidence interval: plan with it to be careful.
    """

    value: float
    low: float


def pilot_effect(suspect: ArrayLike, reference: ArrayLike) -> Effect:
    """The standardised difference of pilot scores (Cohen's d) and its lower 90 % limit.

    No test, so no null hypothesis: it serves planning alone. The standard error is that of Hedges
    and Olkin (1985), Eq. 5.14, sqrt((n + m) / (n m) + d^2 / (2 (n + m))), meant for roughly normal
    scores. Raises :class:`ScoreError` with fewer than 3 scores a side or without any spread.
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
    draws: int = DRAWS,
    limit: int = LIMIT,
    rng: np.random.Generator,
) -> SizePlan:
    """Suspect images for the one-sided KS test, from an effect on normal scores.

    The planned test's null hypothesis is that of :func:`ks_less`. The plan assumes normal scores
    of equal spread, lowered by ``effect`` standard deviations; where scores are skewed,
    :func:`plan_from_pilot` does better. Power is the share of ``draws`` simulated tests that the
    exact test rejects at ``alpha``.

    Parameters
    ----------
    effect : float
        Lowering in standard deviations, > 0.
    alpha, power : float
        Accepted risk of a false accusation; wanted chance of catching a guilty model.
    references : int
        Reference images, m.
    draws : int
        Simulated tests per number of images tried; the standard error is at most 0.5 / sqrt(draws).
    limit : int
        The largest number of images to consider.
    rng : numpy.random.Generator
        Draws the scores.

    Raises
    ------
    ScoreError
        A setting is out of range.
    """
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")

    def lowered(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
        return rng.normal(-effect, 1, shape)

    return _plan_ks(lowered, _standard, effect, alpha, power, references, draws, limit, rng)


def plan_from_pilot(
    suspect: ArrayLike,
    reference: ArrayLike,
    *,
    alpha: float = 1e-6,
    power: float = 0.95,
    references: int | None = None,
    draws: int = DRAWS,
    limit: int = LIMIT,
    rng: np.random.Generator,
) -> SizePlan:
    """Suspect images for the one-sided KS test, from pilot scores of any shape.

    Simulated scores are drawn with replacement from the pilot's (a plan may do so, a test never).
    A pilot of few images gives a rough plan: see :attr:`Effect.low`. ``references`` is by default
    the number of pilot references; the rest is as in :func:`plan_size`.
    """
    first, second = _pilot(suspect, reference)
    m = len(second) if references is None else references
    effect = pilot_effect(first, second).value

    def again(pool: Floats) -> Sampler:
        return lambda shape, rng: rng.choice(pool, shape)

    return _plan_ks(again(first), again(second), effect, alpha, power, m, draws, limit, rng)


def plan_sequential(
    effect: float,
    *,
    alpha: float = 1e-6,
    references: int = 300,
    limit: int,
    planned: bool = True,
    draws: int = 400,
    rng: np.random.Generator,
) -> SequentialPlan:
    """When :class:`SequentialKs` stops, for normal scores lowered by ``effect``.

    The planned test's null hypothesis is that of the class. ``planned`` tells the test the effect.
    Beyond 50 images the simulation looks every 2 % only, so it errs on the late side.
    """
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")
    boundary = -math.log(level(alpha))
    shapes, weights = shape_bets(effect if planned else None)
    pools = np.sort(rng.normal(size=(draws, references)), axis=1)
    scores = rng.normal(-effect, 1, (draws, limit))
    above = np.stack([references_above(s, r) for s, r in zip(scores, pools, strict=True)])
    stops = np.full(draws, np.inf)
    for t in look_schedule(1, limit, 1.02):
        running = np.flatnonzero(np.isinf(stops))
        evidence = log_rank_evidence(above[running, :t], references, shapes, weights)
        stops[running[evidence >= boundary]] = t
        if len(running) == 0:
            break
    ordered = np.sort(stops)
    median, most = (ordered[math.ceil(share * draws) - 1] for share in (0.5, 0.9))
    return SequentialPlan(
        median=int(median) if np.isfinite(median) else None,
        most=int(most) if np.isfinite(most) else None,
        power=float(np.isfinite(stops).mean()),
        alpha=alpha,
        limit=limit,
    )


def _standard(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    return rng.standard_normal(shape)


def _pilot(suspect: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    first = finite_list(suspect, "pilot suspect scores")
    second = finite_list(reference, "pilot reference scores")
    if min(len(first), len(second)) < 3:
        raise ScoreError(
            f"The pilot has {len(first)} suspect and {len(second)} reference scores; expected at "
            "least 3 of each, better 30."
        )
    return first, second


def _plan_ks(
    suspects: Sampler,
    references: Sampler,
    effect: float,
    alpha: float,
    power: float,
    m: int,
    draws: int,
    limit: int,
    rng: np.random.Generator,
) -> SizePlan:
    level(alpha)
    if m < 1:
        raise ScoreError(f"references is {m}; expected at least 1.")

    def rejected(n: int, tests: int) -> int:
        wall = critical_gap(alpha, n, m)
        if wall > math.lcm(n, m):
            return 0
        up, down = m // math.gcd(n, m), n // math.gcd(n, m)
        rows, hits = max(1, _CELLS // (n + m)), 0
        for start in range(0, tests, rows):
            count = min(rows, tests - start)
            # references first, so that a stable sort reads ties against the owner
            pools = references((count, m), rng), suspects((count, n), rng)
            order = np.concatenate(pools, axis=1).argsort(axis=1, kind="stable")
            walk = np.cumsum(np.where(order >= m, up, -down), axis=1)
            hits += int((walk.max(axis=1) >= wall).sum())
        return hits

    return search_size(rejected, power, alpha, m, effect, draws, limit)


def search_size(
    rejected: Callable[[int, int], int],
    target: float,
    alpha: float,
    references: int,
    effect: float,
    draws: int,
    limit: int,
) -> SizePlan:
    """The least n with enough power: doubling, then bisection, on simulated tests.

    ``rejected(n, tests)`` tells how many of ``tests`` simulated tests with n images reject. Power
    grows with n but for its noise and the jumps of an exact test, so the n found is the least one
    up to these.
    """
    level(target, "power")
    if draws < 1 or limit < 1:
        raise ScoreError(f"draws is {draws} and limit {limit}; expected at least 1.")
    curve: dict[int, float] = {}
    used: dict[int, int] = {}

    def enough(n: int) -> bool:
        few = min(_QUICK, draws)
        hits, used[n] = rejected(n, few), few
        if hits / few > target - _FAR and draws > few:  # not hopeless: look closely
            hits, used[n] = hits + rejected(n, draws - few), draws
        curve[n] = hits / used[n]
        return curve[n] >= target

    low, high = 0, 1
    while not enough(high) and high < limit:
        low, high = high, min(limit, 2 * high)
    found = curve[high] >= target
    while found and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    reached = curve[high]
    return SizePlan(
        images=high if found else None,
        power=reached,
        error=math.sqrt(reached * (1 - reached) / used[high]),
        target=target,
        alpha=alpha,
        references=references,
        effect=effect,
        limit=limit,
        curve=tuple(sorted(curve.items())),
    )
