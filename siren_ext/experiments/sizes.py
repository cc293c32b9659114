"""Innocent models, simulated: what each p of the product is where its null hypothesis is true."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from siren_ext.evidence.ledger import price_of
from siren_ext.experiments.model_sizes import (
    Draw,
    Drawn,
    Floats,
    any_statistic,
    key_samples,
    predicted,
    ranked,
)
from siren_ext.scoring.centre import centred
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import coins_test
from siren_ext.stats.keyed import contributions, keyed_test, trace_messages, whole_sums
from siren_ext.stats.keyed_bounds import (
    hoeffding_bound,
    message_tail,
    share_of_messages,
    whole_distribution,
)
from siren_ext.stats.ks import ks_less
from siren_ext.stats.ks_distribution import exact_p
from siren_ext.stats.low_end import LOW_END
from siren_ext.stats.multiple import holm
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets
from siren_ext.stats.sequential import SequentialKeyed

BITS, PICTURES = 48, 40
KEYS, TESTS, RECIPIENTS = 20, 30, 10
_TWINS, _STEPS, _NEW = 40, 60, 30


@dataclasses.dataclass(frozen=True)
class Simulation:
    """One way to draw innocent models.

    Attributes
    ----------
    name : str
        What was drawn, for the table.
    draw : callable
        ``draw(runs, rng)`` gives, for every p that is counted, its values in so many runs.
    """

    name: str
    draw: Draw


def compared(n: int, m: int, share: float = LOW_END, *, ties: bool = False) -> Draw:
    """One-sided comparisons with a reference, as a verdict makes them.

    Parameters
    ----------
    n, m : int
        Numbers of suspect and of reference scores, all of one normal distribution.
    share : float
        Share of the reference in which the gap is sought.
    ties : bool
        Round scores to one digit.

    Returns
    -------
    callable
        For :class:`Simulation`.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        p = np.empty(runs)
        for run in range(runs):
            scores = rng.normal(size=n + m)
            scores = scores.round(1) if ties else scores
            p[run] = ks_less(scores[:n], scores[n:], share=share).p_value
        return {"comparison with a reference, lowest quarter": p}

    return draw


def compared_whole(n: int, m: int) -> Draw:
    """Comparisons by all scores: the one-sided and the paper's two-sided test.

    Parameters
    ----------
    n, m : int
        Numbers of suspect and of reference scores, all of one normal distribution.

    Returns
    -------
    callable
        For :class:`Simulation`.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        a, b = m // math.gcd(n, m), n // math.gcd(n, m)
        suspect = rng.normal(size=(runs, n + m)).argsort(axis=1) < n
        walk = np.cumsum(np.where(suspect, a, -b), axis=1)
        found = {}
        for name, gaps, sides in (
            ("comparison, all scores, one-sided", np.maximum(walk.max(axis=1), 0), 1),
            ("comparison, all scores, two-sided", np.abs(walk).max(axis=1), 2),
        ):
            distinct, place = np.unique(gaps, return_inverse=True)
            found[name] = np.asarray(exact_p(distinct, n, m, sides)[place], dtype=np.float64)
        return found

    return draw


def styled(rng: np.random.Generator, images: int, bits: int, style: float = 2.0) -> Floats:
    """Features of an innocent model: a lean of its own in every bit, and noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws them.
    images, bits : int
        Shape of the result.
    style : float
        Standard deviation of the leans; that of the noise is 3.

    Returns
    -------
    array, shape (images, bits)
        In units of the extractor's logits.
    """
    features = style * rng.normal(size=bits) + 3 * rng.normal(size=(images, bits))
    return np.asarray(features, dtype=np.float64)


def messages(rng: np.random.Generator, count: int, bits: int = BITS) -> Floats:
    """Uniform messages of signs, one per row."""
    return np.asarray(rng.integers(0, 2, (count, bits)) * 2.0 - 1, dtype=np.float64)


def keyed(images: int, bits: int, style: float) -> Draw:
    """Keyed tests, and the bounds of their p, of models with a style.

    Parameters
    ----------
    images, bits, style
        As in :func:`styled`.

    Returns
    -------
    callable
        For :class:`Simulation`.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        p = np.empty((3, runs))
        for run, message in enumerate(messages(rng, runs, bits)):
            features = styled(rng, images, bits, style)
            given = contributions(features).sum(axis=0)
            fit = float(message @ given)
            p[:, run] = (
                keyed_test(features, message).p_value,
                message_tail(given, fit),
                hoeffding_bound(given, fit),
            )
        names = "keyed test, exact", "keyed test, tail bound", "keyed test, Hoeffding's bound"
        return dict(zip(names, p, strict=True))

    return draw


def keyed_half(runs: int, rng: np.random.Generator) -> Drawn:
    """Half of the bits is opened to somebody else, and tested alone."""
    p = np.empty(runs)
    for run, message in enumerate(messages(rng, runs)):
        sums = whole_sums(contributions(styled(rng, PICTURES, BITS)))
        half = rng.permutation(BITS)[: BITS // 2]
        spread = whole_distribution(np.abs(sums[half]))
        p[run] = share_of_messages(spread, int(sums[half] @ message[half]))
    return {"keyed test, half of the bits": p}


def keyed_centred(runs: int, rng: np.random.Generator) -> Drawn:
    """Features are centred by uncoated pictures of the same kind."""
    p, coater = np.empty(runs), "c" * 64
    names, source = tuple(map(str, range(_NEW))), {"kind": "folder"}
    for run, message in enumerate(messages(rng, runs)):
        both = styled(rng, 2 * _NEW, BITS, 8.0)  # the coater reads most bits alike in all pictures
        suspect, other = (
            ScoreSet(np.zeros(_NEW), names, ("",) * _NEW, coater, source, features=part)
            for part in (both[:_NEW], both[_NEW:])
        )
        moved = np.asarray(centred(suspect, other).features)
        p[run] = keyed_test(moved, message).p_value
    return {"keyed test, centred": p}


def key_ring(runs: int, rng: np.random.Generator) -> Drawn:
    """The best of several keys of one file; p times their number."""
    p = np.empty(runs)
    for run in range(runs):
        features = styled(rng, PICTURES, BITS)
        found = trace_messages(features, list(messages(rng, KEYS))).findings
        p[run] = min(1.0, KEYS * min(one.p_value for one in found))
    return {"key ring, p times the number of keys": p}


def ledger(runs: int, rng: np.random.Generator) -> Drawn:
    """One key is tried on one innocent model after another; p of test j times j (j + 1).

    Notes
    -----
    A sum of signs is at least its standard deviation with probability 7/64 or more, so a smaller T
    can't reach a level below that, and its p is left at 1.

    References
    ----------
    Dvorak, van Hintum and Tiba (2020), "Improved bound for Tomaszewski's problem", SIAM J. Discrete
    Math. 34(4).
    """
    p = np.ones(runs)
    for run, message in enumerate(messages(rng, runs)):
        leans = 2 * rng.normal(size=(TESTS, 1, BITS))
        given = np.tanh((leans + 3 * rng.normal(size=(TESTS, 10, BITS))) / 4)
        for number, one in enumerate(given, start=1):
            sums = whole_sums(one)
            fit = int(message @ sums)
            if fit * fit >= int(sums @ sums) and fit > 0:
                alone = share_of_messages(whole_distribution(np.abs(sums)), fit)
                p[run] = min(p[run], price_of(number) * alone)
    return {"ledger, any of the tests": p}


def traced(runs: int, rng: np.random.Generator) -> Drawn:
    """A model learnt the copies of three recipients; the others must not be named."""
    guilty, p = 3, np.empty(runs)
    for run in range(runs):
        keys = messages(rng, RECIPIENTS)
        features = styled(rng, PICTURES, BITS) + keys[:guilty].sum(axis=0)
        adjusted = trace_messages(features, list(keys)).holm.adjusted
        p[run] = min(adjusted[guilty:])
    return {"trace by Holm, any innocent recipient": p}


def holm_dependent(runs: int, rng: np.random.Generator) -> Drawn:
    """Holm's correction of dependent tests, two of which have a false null hypothesis."""
    from scipy.special import ndtr

    shared, own = rng.normal(size=(runs, 1)), rng.normal(size=(runs, RECIPIENTS))
    values = math.sqrt(0.7) * shared + math.sqrt(0.3) * own
    values[:, :2] -= 3
    smallest = [min(holm(row).adjusted[2:]) for row in ndtr(values)]
    return {"Holm's correction of other tests": np.array(smallest)}


def sequential_scores(effect: float | None, references: int = 60) -> Draw:
    """Scores one at a time, stopped as soon as they reject.

    Parameters
    ----------
    effect : float or None
        The planned effect.
    references : int
        Number of reference scores.

    Returns
    -------
    callable
        For :class:`Simulation`.
    """

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        pools = np.sort(rng.normal(size=(runs, references)), axis=1)
        scores = rng.normal(size=(runs, _STEPS))
        above = np.stack([references_above(s, r) for s, r in zip(scores, pools, strict=True)])
        bets, best = shape_bets(effect), np.zeros(runs)
        for t in range(1, _STEPS + 1):
            best = np.maximum(best, log_rank_evidence(above[:, :t], references, *bets))
        return {"comparison one at a time, at any time": np.exp(-best)}

    return draw


def sequential_key(planned: int | None) -> Draw:
    """Keyed evidence one picture at a time, stopped as soon as it rejects.

    Parameters
    ----------
    planned : int or None
        Number of pictures of the plan.

    Returns
    -------
    callable
        For :class:`Simulation`. Looks whose T is below its standard deviation are left out; see
        :func:`ledger`.
    """
    test = SequentialKeyed(np.ones(BITS), planned=planned, last=_STEPS)
    places = np.array(test.looks) - 1

    def draw(runs: int, rng: np.random.Generator) -> Drawn:
        p = np.ones(runs)
        for run, message in enumerate(messages(rng, runs)):
            given = np.tanh(styled(rng, test.looks[-1], BITS) / 4)
            for F, share in zip(given.cumsum(axis=0)[places], test.shares, strict=True):
                fit = float(F @ message)
                if fit > 0 and fit * fit >= float(F @ F):
                    alone = min(message_tail(F, fit), hoeffding_bound(F, fit))
                    p[run] = min(p[run], alone / share)
        return {"keyed test one at a time, at any time": p}

    return draw


def coins(runs: int, rng: np.random.Generator) -> Drawn:
    """Twins of a model that was trained on neither."""
    p = np.empty((3, runs))
    for run in range(runs):
        differences = 0.5 + rng.normal(size=_TWINS)  # side 0 is liked more, whatever was published
        found = coins_test(differences, rng.integers(0, 2, _TWINS))
        p[:, run] = found.p_value, found.sign_p, found.sequential_p
    names = "twins", "twins, sign test", "twins one at a time, at any time"
    return dict(zip(names, p, strict=True))


SIMULATIONS: tuple[Simulation, ...] = (
    Simulation("30 scores against 100", compared(30, 100)),
    Simulation("60 against 300", compared(60, 300)),
    Simulation("60 against 300, equal scores among them", compared(60, 300, ties=True)),
    Simulation("10,001 against 300 (an upper bound)", compared(10_001, 300)),
    Simulation("30 against 100", compared_whole(30, 100)),
    Simulation("48 bits, 40 pictures with a style", keyed(PICTURES, BITS, 2.0)),
    Simulation("48 bits, 40 pictures without a style", keyed(PICTURES, BITS, 0.0)),
    Simulation("16 bits, 10 pictures with a style", keyed(10, 16, 2.0)),
    Simulation("24 of 48 bits", keyed_half),
    Simulation("30 pictures that read alike, 30 uncoated ones", keyed_centred),
    Simulation(f"{KEYS} keys", key_ring),
    Simulation(f"{TESTS} innocent models", ledger),
    Simulation(f"{RECIPIENTS} recipients, 3 of them guilty", traced),
    Simulation("10 dependent tests, 2 with an effect", holm_dependent),
    Simulation("99 others", ranked(99)),
    Simulation("999 others, equal values among them", ranked(999, ties=True)),
    Simulation("up to 60 against 60, unknown effect", sequential_scores(None)),
    Simulation("up to 60 against 60, effect 1 planned", sequential_scores(1.0)),
    Simulation("looks at up to 60 pictures", sequential_key(None)),
    Simulation("looks of a plan of 40 pictures", sequential_key(40)),
    Simulation("40 twins", coins),
    Simulation("one more model beside 3", predicted(3)),
    Simulation("one more model beside 8", predicted(8)),
    Simulation("16 bits and their pairs, 400 drawn messages", any_statistic),
    *(
        Simulation(f"30 key samples, 10 innocent models, {words}", key_samples(spread))
        for spread, words in ((0.0, "alike"), (0.05, "rates .2 ± .05"), (0.1, "rates .2 ± .1"))
    ),
)
"""All simulations, in the order of the table."""
