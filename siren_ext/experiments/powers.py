"""Guilty models, simulated: whether a test has the power that ``siren-ext plan`` states."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed
from siren_ext.stats.ks import ks_less
from siren_ext.stats.low_end import LOW_END, low_end_count
from siren_ext.stats.low_end_distribution import low_end_critical_gap
from siren_ext.stats.power import SizePlan, plan_from_pilot, plan_size
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets
from siren_ext.stats.sequential_power import plan_sequential

Floats = NDArray[np.float64]
Generator = np.random.Generator

NEAR = 0.02
"""Largest difference between a stated and a simulated power."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a plan states, and what happened.

    Attributes
    ----------
    images : int
        Number of images of the plan, or the largest one considered if no number suffices.
    stated, simulated : float
        Power with so many images, 0 to 1.
    """

    images: int
    stated: float
    simulated: float


@dataclasses.dataclass(frozen=True)
class Planned:
    """A row of the table.

    Attributes
    ----------
    name : str
        The plan.
    setting : str
        Its settings.
    check : callable
        ``check(runs, rng)`` makes the plan, then simulates so many verdicts.
    """

    name: str
    setting: str
    check: Callable[[int, Generator], Claim]


Rejects = Callable[[Floats, Floats], bool]


def _comparison(n: int, m: int, share: float, alpha: float) -> Rejects:
    """Whether a verdict's comparison of n scores with m rejects.

    p is at most alpha just where the gap is a critical one, which is looked up once.
    """
    least, unit = low_end_critical_gap(alpha, n, m, low_end_count(m, share)), math.lcm(n, m)

    def rejects(suspect: Floats, reference: Floats) -> bool:
        found = ks_less(
            suspect, reference, share=share, method="asymptotic"
        )  # D without an exact p
        return round(found.statistic * unit) >= least

    return rejects


def by_effect(effect: float, m: int, alpha: float, power: float, share: float = LOW_END) -> Planned:
    """A plan for scores that are lowered by a known effect.

    Parameters
    ----------
    effect, m, alpha, power, share
        As in :func:`siren_ext.stats.power.plan_size`; m is its ``references``.

    Returns
    -------
    Planned
        The row.
    """

    def check(runs: int, rng: Generator) -> Claim:
        plan = plan_size(effect, alpha=alpha, power=power, references=m, share=share, rng=rng)
        n = plan.images or plan.limit
        rejects = _comparison(n, m, share, alpha)
        hits = sum(rejects(rng.normal(-effect, 1, n), rng.normal(size=m)) for _ in range(runs))
        return Claim(n, plan.power, hits / runs)

    name = "--effect" if share < 1 else "--effect --low-end 1"
    return Planned(name, f"{effect} sd, {m} references, {_asked(alpha, power)}", check)


def by_pilot(alpha: float, power: float) -> Planned:
    """A plan from a pilot with skewed scores.

    Parameters
    ----------
    alpha, power : float
        As in :func:`siren_ext.stats.power.plan_from_pilot`.

    Returns
    -------
    Planned
        The row. Verdicts are drawn from the pilot's scores, so that what is compared is the plan
        and not how well a small pilot shows what comes later.
    """

    def check(runs: int, rng: Generator) -> Claim:
        clean, coated = rng.gamma(4.0, size=120), rng.gamma(4.0, size=40) * 0.7
        plan = plan_from_pilot(coated, clean, alpha=alpha, power=power, rng=rng)
        n, m = plan.images or plan.limit, len(clean)
        rejects = _comparison(n, m, LOW_END, alpha)
        hits = sum(rejects(rng.choice(coated, n), rng.choice(clean, m)) for _ in range(runs))
        return Claim(n, plan.power, hits / runs)

    return Planned("--suspect --reference", f"pilot of 40 and 120, {_asked(alpha, power)}", check)


def by_accuracy(
    accuracy: float, spread: float, bits: int, alpha: float, power: float, price: int = 2
) -> Planned:
    """A plan of the keyed test.

    Parameters
    ----------
    accuracy, spread, bits : float, float, int
        As in :meth:`siren_ext.stats.keyed_power.KeyedEffect.from_accuracy`.
    alpha, power : float
        As in :func:`siren_ext.stats.keyed_power.plan_keyed`.
    price : int
        What the verdict multiplies p by; 2 for the first test of one key.

    Returns
    -------
    Planned
        The row.
    """

    def check(runs: int, rng: Generator) -> Claim:
        effect = KeyedEffect.from_accuracy(accuracy, bits, spread=spread)
        plan = plan_keyed(effect, alpha=alpha / price, power=power, rng=rng)
        n, hits = plan.images or plan.limit, 0
        for _ in range(runs):
            message = rng.integers(0, 2, bits) * 2 - 1
            right = rng.binomial(n, np.clip(rng.normal(accuracy, spread, bits), 0, 1))
            summed = (2.0 * right - n) * message  # all that the test uses of n pictures
            hits += keyed_test(summed[None], message, scale=None).p_value * price <= alpha
        return Claim(n, plan.power, hits / runs)

    setting = f"{accuracy} of {bits} bits, spread {spread}, {_asked(alpha, power)}"
    return Planned("--accuracy", setting, check)


def one_at_a_time(effect: float, m: int, alpha: float, part: float) -> Planned:
    """The images by which half, or nine of ten, of the sequential tests stop.

    Parameters
    ----------
    effect, m, alpha : float, int, float
        As in :func:`siren_ext.stats.sequential_power.plan_sequential`; m is its ``references``.
    part : float
        0.5 or 0.9.

    Returns
    -------
    Planned
        The row. It is met exactly if the share of stopped tests passes the stated one between the
        image before the stated number and that number, as no number hits a share exactly.
    """

    def check(runs: int, rng: Generator) -> Claim:
        limit = _limit(plan_size(effect, alpha=alpha, references=m, rng=rng))
        plan = plan_sequential(effect, alpha=alpha, references=m, limit=limit, rng=rng)
        stated = plan.median if part == 0.5 else plan.most
        images = limit if stated is None else stated
        bets, running, before = shape_bets(effect), np.arange(runs), 0.0
        pools = np.sort(rng.normal(size=(runs, m)), axis=1)
        scores = rng.normal(-effect, 1, (runs, images))
        above = np.stack([references_above(s, r) for s, r in zip(scores, pools, strict=True)])
        for t in range(1, images + 1):
            before = 1 - len(running) / runs
            evidence = log_rank_evidence(above[running, :t], m, *bets)
            running = running[evidence < -math.log(alpha)]
        now = 1 - len(running) / runs
        return Claim(images, part, float(min(max(part, before), now)))

    words = "half stop by" if part == 0.5 else "nine of ten by"
    return Planned(words, f"{effect} sd, {m} references, alpha {alpha:g}", check)


def _limit(fixed: SizePlan) -> int:
    """After how many images the command gives up."""
    from siren_ext.cli.plan import GIVE_UP

    return 2 * fixed.images if fixed.images else GIVE_UP


def _asked(alpha: float, power: float) -> str:
    return f"alpha {alpha:g}, {100 * power:.0f} % wanted"


def _rows() -> list[Planned]:
    tests = tuple(itertools.product((0.05, 1e-3, 1e-6), (0.8, 0.95)))
    strict = tuple(itertools.product((1e-3, 1e-6), (0.8, 0.95)))
    rows = [
        by_effect(effect, m, *asked)
        for effect, m, asked in itertools.product((0.3, 0.5, 1.0, 1.5), (100, 300), tests)
    ]
    rows += [
        by_effect(effect, 200, *asked, share=1.0)
        for effect, asked in itertools.product((0.5, 1.0), strict)
    ]
    rows += [by_pilot(*asked) for asked in strict]
    rows += [
        by_accuracy(accuracy, spread, bits, *asked)
        for accuracy, spread, bits, asked in itertools.product(
            (0.6, 0.75, 0.9), (0.05, 0.1), (24, 48), strict
        )
    ]
    rows += [
        one_at_a_time(*given, alpha, part)
        for given, alpha, part in itertools.product(
            ((1.0, 100), (1.0, 300), (2.0, 100)), (1e-3, 1e-6), (0.5, 0.9)
        )
    ]
    return rows


PLANS: tuple[Planned, ...] = tuple(_rows())
"""All plans, in the order of the table."""
