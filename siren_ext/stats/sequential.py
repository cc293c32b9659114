"""Anytime-valid tests: look after every image, stop when the evidence suffices, keep the risk.

Both tests here hold P(ever rejecting | null) <= alpha over *all* sample sizes at once, so any rule
may decide when to stop, also one that looks at the scores, the images or the clock. What must not
happen is choosing *which* images count, or starting over after an unlucky run: every image that was
asked for is fed, in order.

:class:`SequentialKs` is the counterpart of the one-sided Kolmogorov-Smirnov test. Its evidence is
the likelihood ratio of the ranks (Savage 1956) under Lehmann's alternatives F = G^d, d < 1, mixed
over d. Under the null every order of the m + t scores is equally likely, whatever their
distribution, so the ratio is a test martingale with mean 1, and by Ville's inequality it ever
exceeds 1 / alpha with probability at most alpha. The finite reference pool is part of the ranks:
nothing is estimated from it. Ties are ordered against the owner (a suspect counts as larger than
the references it ties with), which makes the evidence at every step at most that of any random
order of the ties; the null's guarantee therefore stays.

:class:`SequentialKeyed` is the counterpart of the keyed test. There is no martingale over images
here: given the message, the images of one innocent model all lean the same way (its style agrees
with the message by chance), and multiplying bets over images would accuse half of all models in the
end. The only randomness is the message itself, drawn once. So alpha is shared among looks that are
fixed beforehand, and each look has its p (:func:`keyed.message_tail`). As a nondecreasing
e-process: each look bets its share, wins 1 / alpha or nothing, expectation of the sum at most 1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level
from siren_ext.stats.keyed import (
    SCALE,
    checked_message,
    contributions,
    hoeffding_bound,
    message_tail,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# From a lowering by about a tenth of a standard deviation to one by four.
SHAPES = (0.9, 0.8, 0.6, 0.45, 0.3, 0.2, 0.12, 0.07)
_CELLS = 1 << 18
# Looks in percent of a plan and their part of alpha; the parts sum to 1.
_PLANNED = {40: 0.1, 60: 0.5, 80: 0.1, 100: 0.2, 140: 0.1}


@dataclass(frozen=True)
class SequentialResult:
    """Where a sequential test stands.

    Attributes
    ----------
    images : int
        t, the images seen so far.
    rejected : bool
        Whether the evidence reached ln(1 / alpha) at any t so far; it stays so.
    stopped_at : int or None
        The first t at which it did.
    p_value : float
        1 over the largest evidence so far, at most 1: valid at any stopping time.
    alpha : float
        The accepted risk, over all t together.
    path : tuple of float
        Natural logarithm of the evidence after each image; the boundary is ln(1 / alpha). It may
        fall again, a rejection stands nevertheless.
    """

    images: int
    rejected: bool
    stopped_at: int | None
    p_value: float
    alpha: float
    path: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class SequentialKs:
    """Do the suspect's scores tend to be smaller? Fed one score at a time.

    Null hypothesis: suspect and reference scores are exchangeable (for instance independent draws
    from one distribution). A small p does not show *why* the suspect scores lower: like
    :func:`ks_less` it compares with this reference, and a model of another style breaks the null
    without a coating. Copies of one image are no new observations and must not be fed.

    Parameters
    ----------
    reference : array_like, shape (m,)
        Scores of the innocent reference, fixed before the first image.
    alpha : float
        Accepted risk of ever rejecting under the null.
    effect : float or None
        The planned effect: by how many standard deviations normal scores are lowered. Three
        quarters of the bet go on it, the rest stays spread over :data:`SHAPES`. It is fixed
        beforehand, not chosen from the scores; validity doesn't depend on whether it is true.

    References
    ----------
    Savage (1956), Ann. Math. Statist. 27, 590-615 (rank likelihood under Lehmann alternatives);
    Ville (1939), Etude critique de la notion de collectif; Ramdas, Grünwald, Vovk and Shafer
    (2023), Statist. Sci. 38(4) (test martingales and e-processes); Vovk, Gammerman and Shafer
    (2005), Algorithmic Learning in a Random World, ch. 8 (sequential ranks).
    """

    def __init__(
        self, reference: ArrayLike, *, alpha: float = 1e-6, effect: float | None = None
    ) -> None:
        self._reference = np.sort(finite_list(reference, "reference scores"))
        self._above: list[int] = []
        self._path: list[float] = []
        self._shapes, self._weights = shape_bets(effect)
        self.alpha = level(alpha)

    def update(self, score: float) -> SequentialResult:
        """Take in the score of the next image; raises :class:`ScoreError` if it is not finite."""
        value = finite_list([score], "suspect scores")
        self._above.append(int(references_above(value, self._reference)[0]))
        above = np.array([self._above], dtype=np.int64)
        evidence = log_rank_evidence(above, len(self._reference), self._shapes, self._weights)
        self._path.append(float(evidence[0]))
        return self.result

    @property
    def result(self) -> SequentialResult:
        """Where the test stands."""
        return _standing(self._path, self.alpha)


class SequentialKeyed:
    """Is the secret message in the images? Fed one image's features at a time.

    Null hypothesis and what a small p does not prove: those of :mod:`siren_ext.stats.keyed`; the
    images may depend on each other in any way. Looks happen after the numbers of images in
    :attr:`looks`, each with its part of alpha in :attr:`shares`; between looks, and after the last,
    nothing can be rejected and the evidence stays. Whoever stops without ever having looked at the
    secret's statistic needs no correction at all: the plain keyed test stays exact.

    Parameters
    ----------
    message : array_like, shape (k,)
        The secret, -1 or +1 each.
    alpha : float
        Accepted risk of ever rejecting under the null.
    planned : int or None
        Images of a fixed plan (:func:`plan_keyed`): the looks are then those of
        :func:`planned_looks`, few and mostly at 60 % of the plan, which costs little. Without a
        plan, looks follow :func:`look_schedule` and share alpha equally.
    first, last : int
        Without a plan: images before the first and the last look.
    ratio : float
        Without a plan: each look has about ``ratio`` times the images of the one before.
    scale : float or None
        See :func:`keyed.keyed_test`.

    References
    ----------
    Vovk and Wang (2021), "E-values: calibration, combination and applications", Ann. Statist.
    49(3) (weighted averages of e-values under any dependence); Lan and DeMets (1983), Biometrika 70
    (sharing alpha among looks).
    """

    def __init__(
        self,
        message: ArrayLike,
        *,
        alpha: float = 1e-6,
        planned: int | None = None,
        first: int = 5,
        last: int = 400,
        ratio: float = 1.25,
        scale: float | None = SCALE,
    ) -> None:
        self._sign = checked_message(message, int(np.size(message)))
        self._sum = np.zeros(len(self._sign))
        self._scale = scale
        self._path: list[float] = []
        self.alpha = level(alpha)
        self.looks: tuple[int, ...]
        self.shares: tuple[float, ...]
        if planned is None:
            self.looks = look_schedule(first, last, ratio)
            self.shares = (1 / len(self.looks),) * len(self.looks)
        else:
            self.looks, self.shares = planned_looks(planned)

    def update(self, features: ArrayLike) -> SequentialResult:
        """Take in the k features of the next image; raises :class:`ScoreError` if malformed."""
        row = np.asarray(features, dtype=np.float64)
        if row.shape != self._sign.shape:
            raise ScoreError(
                f"The features have shape {row.shape}; expected {len(self._sign)} numbers, one "
                "image at a time."
            )
        self._sum += contributions(row[None], self._scale)[0]
        if len(self._path) + 1 in self.looks:
            statistic = float(self._sign @ self._sum)
            p = min(message_tail(self._sum, statistic), hoeffding_bound(self._sum, statistic))
            share = self.shares[self.looks.index(len(self._path) + 1)]
            self._path.append(math.log(share / p))
        else:
            # before the first look nothing is known, which is evidence 1
            self._path.append(self._path[-1] if self._path else 0.0)
        return self.result

    @property
    def result(self) -> SequentialResult:
        """Where the test stands."""
        return _standing(self._path, self.alpha)


def sequential_ks(
    suspect: ArrayLike, reference: ArrayLike, *, alpha: float = 1e-6, effect: float | None = None
) -> SequentialResult:
    """Feed all ``suspect`` scores, in the order given, to a :class:`SequentialKs`.

    Null hypothesis and limits are those of the class; the order must be that of generation.
    """
    test = SequentialKs(reference, alpha=alpha, effect=effect)
    for score in finite_list(suspect, "suspect scores"):
        test.update(float(score))
    return test.result


def sequential_keyed(
    features: ArrayLike, message: ArrayLike, *, alpha: float = 1e-6, **options: Any
) -> SequentialResult:
    """Feed all rows of ``features``, in the order given, to a :class:`SequentialKeyed`.

    Null hypothesis and limits are those of the class, ``options`` its other parameters.
    """
    test = SequentialKeyed(message, alpha=alpha, **options)
    rows = contributions(features, None)
    for row in rows:
        test.update(row)
    return test.result


def look_schedule(first: int, last: int, ratio: float = 1.25) -> tuple[int, ...]:
    """Increasing numbers of images from ``first`` to ``last``, each about ``ratio`` times the one
    before, at least one more."""
    if not 1 <= first <= last:
        raise ScoreError(f"Looks from {first} to {last} images; expected 1 <= first <= last.")
    if not ratio > 1:
        raise ScoreError(f"ratio is {ratio}; expected more than 1.")
    looks = [first]
    while looks[-1] < last:
        looks.append(min(last, max(looks[-1] + 1, round(looks[-1] * ratio))))
    return tuple(looks)


def planned_looks(images: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Looks around a fixed plan of ``images`` images, and the part of alpha that each has.

    At 40, 60, 80, 100 and 140 % of the plan with 10, 50, 10, 20 and 10 % of alpha: half of the
    tests of a model with the planned effect end by 60 %, and more are caught by 140 % than by the
    plan. Looks that fall on the same image are joined.
    """
    if images < 1:
        raise ScoreError(f"The plan has {images} images; expected at least 1.")
    shares: dict[int, float] = {}
    for percent, share in _PLANNED.items():
        look = max(1, images * percent // 100)
        shares[look] = shares.get(look, 0.0) + share
    return tuple(shares), tuple(shares.values())


def least_images(m: int, alpha: float, *, limit: int = 10_000) -> int | None:
    """The images after which :class:`SequentialKs` rejects if every score lies below all m others.

    None if ``limit`` images are not enough.
    """
    boundary = -math.log(level(alpha))
    shapes, weights = shape_bets(None)
    for t in range(1, limit + 1):
        perfect = np.full((1, t), m, dtype=np.int64)
        if log_rank_evidence(perfect, m, shapes, weights)[0] >= boundary:
            return t
    return None


def references_above(scores: ArrayLike, reference: Floats) -> Ints:
    """How many of the ascending ``reference`` are strictly greater, for each score."""
    return len(reference) - np.searchsorted(reference, scores, side="right").astype(np.int64)


def shape_bets(effect: float | None) -> tuple[Floats, Floats]:
    """Lehmann shapes d and their weights, which sum to 1; raises :class:`ScoreError`.

    For a planned ``effect`` (normal scores lowered by that many standard deviations) the shape is
    the maximiser of the expected log density ln d + (d - 1) E[ln U], hence 1 / E[-ln U].
    """
    shapes = np.array(SHAPES)
    weights = np.full(len(shapes), 1 / len(shapes))
    if effect is None:
        return shapes, weights
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")
    from scipy.special import log_ndtr, ndtri

    z = ndtri((np.arange(20_000) + 0.5) / 20_000)
    planned = -1 / float(np.mean(log_ndtr(z - effect)))
    return np.append(shapes, planned), np.append(weights / 4, 0.75)


def log_rank_evidence(above: Ints, m: int, shapes: Floats, weights: Floats) -> Floats:
    """Logarithm of the mixed rank likelihood ratio, for several tests side by side.

    Reading all m + t scores from the largest down, the alternative F = G^d draws the next one among
    those left with weight 1 per reference and d per suspect, the null with equal weights. So
    M_d = (m + t)! d^t / prod(A + d B), with A references and B suspects left at each step.

    Parameters
    ----------
    above : int array, shape (rows, t)
        For each suspect score how many of the m references are strictly greater; equal ones are not
        counted, so that a tie is read suspect first, the order that gives the smallest evidence.
    m : int
        Number of reference scores.
    shapes, weights : arrays, shape (S,)
        The mixture over d in (0, 1).

    Returns
    -------
    array, shape (rows,)
        Under the null each row, as t grows, is the logarithm of a test martingale.
    """
    rows, t = above.shape
    result = np.empty(rows)
    chunk = max(1, _CELLS // (m + t))
    falling = np.arange(t, 0, -1)
    constant = math.lgamma(m + t + 1)
    for start in range(0, rows, chunk):
        part = np.sort(above[start : start + chunk], axis=1)
        count = len(part)
        slots = np.arange(count)[:, None] * (m + 1) + part
        histogram = np.bincount(slots.ravel(), minlength=count * (m + 1)).reshape(count, m + 1)
        # suspects left when the first, second ... m-th reference from the top is read
        left = t - np.cumsum(histogram, axis=1)[:, :m]
        logs = np.empty((len(shapes), count))
        for index, shape in enumerate(shapes):
            logs[index] = constant + t * math.log(shape) + math.log(weights[index])
            logs[index] -= np.log(np.arange(m, 0, -1) + shape * left).sum(axis=1)
            logs[index] -= np.log(m - part + shape * falling).sum(axis=1)
        top = logs.max(axis=0)
        result[start : start + chunk] = top + np.log(np.exp(logs - top).sum(axis=0))
    return result


def _standing(path: list[float], alpha: float) -> SequentialResult:
    boundary = -math.log(alpha)
    crossed = next((t for t, value in enumerate(path, start=1) if value >= boundary), None)
    return SequentialResult(
        images=len(path),
        rejected=crossed is not None,
        stopped_at=crossed,
        p_value=math.exp(-max(0.0, max(path, default=0.0))),
        alpha=alpha,
        path=tuple(path),
    )
