"""How many images the sequential KS test needs: a plan by simulation, made before testing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import level
from siren_ext.stats.looks import look_schedule
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets

_RATIO = 1.05  # of the looks of the simulation


@dataclass(frozen=True)
class SequentialPlan:
    """When the sequential test stops, if the effect is as planned.

    Attributes
    ----------
    median, most : int or None
        Images after which 50 % and 90 % of the tests have rejected; None if fewer do within
        ``limit``.
    power : float
        Share of the tests that reject within ``limit`` images.
    alpha : float
        Accepted risk of a false accusation, over all images together.
    limit : int
        Images after which a test stops without rejecting.
    """

    median: int | None
    most: int | None
    power: float
    alpha: float
    limit: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def plan_sequential(
    effect: float,
    *,
    alpha: float = 1e-6,
    references: int = 300,
    limit: int,
    planned: bool = True,
    draws: int = 4000,
    rng: np.random.Generator,
) -> SequentialPlan:
    """After how many images :class:`~siren_ext.stats.sequential.SequentialKs` stops.

    The planned test's null hypothesis is that of the class. The plan assumes normal scores, lowered
    by ``effect`` standard deviations. Above 20 images the simulation checks every 5 %, and every
    image before a check that rejects. A test that would reject in between only is found late, which
    changes the shares by less than a point.

    Parameters
    ----------
    effect : float
        Lowering in standard deviations, in (0, 20).
    alpha : float
        Accepted risk of a false accusation, in (0, 1).
    references : int
        Number of reference images.
    limit : int
        Images after which a test stops without rejecting.
    planned : bool
        Whether the test is given ``effect`` too.
    draws : int
        Number of simulated tests; the standard error of a share is at most 0.5 / sqrt(draws).
    rng : numpy.random.Generator
        Draws the scores.

    Raises
    ------
    ScoreError
        If a setting is out of range.
    """
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")
    boundary = -math.log(level(alpha))
    shapes, weights = shape_bets(effect if planned else None)
    pools = np.sort(rng.normal(size=(draws, references)), axis=1)
    scores = rng.normal(-effect, 1, (draws, limit))
    above = np.stack([references_above(s, r) for s, r in zip(scores, pools, strict=True)])
    stops = np.full(draws, np.inf)

    def reached(rows: NDArray[np.intp], t: int) -> NDArray[np.intp]:
        evidence = log_rank_evidence(above[rows, :t], references, shapes, weights)
        return rows[evidence >= boundary]

    looks = look_schedule(1, limit, _RATIO)
    for before, t in zip((0, *looks), looks, strict=False):
        running = np.flatnonzero(np.isinf(stops))
        if len(running) == 0:
            break
        found = reached(running, t)
        stops[found] = t
        for earlier in range(t - 1, before, -1):  # ends with the first image that rejects
            stops[reached(found, earlier)] = earlier
    ordered = np.sort(stops)
    median, most = (ordered[math.ceil(share * draws) - 1] for share in (0.5, 0.9))
    return SequentialPlan(
        median=int(median) if np.isfinite(median) else None,
        most=int(most) if np.isfinite(most) else None,
        power=float(np.isfinite(stops).mean()),
        alpha=alpha,
        limit=limit,
    )
