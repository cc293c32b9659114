"""Anytime-valid tests: check after every image and stop at any time without raising the risk.

Both tests here keep P(ever rejecting | null) <= alpha over *all* sample sizes at once, so any rule
may decide when to stop, even one that depends on the scores, the images or the clock. It is not
allowed to choose *which* images count, or to start again after an unlucky run: every generated
image must be passed in, in order.

:class:`SequentialKs` is the counterpart of the one-sided Kolmogorov-Smirnov test. Its evidence is
the likelihood ratio of the ranks (Savage 1956) under Lehmann's alternatives F = G^d, d < 1, mixed
over d. Under the null every order of the m + t scores is equally likely, whatever their
distribution, so the ratio is a test martingale with mean 1, and by Ville's inequality it ever
exceeds 1 / alpha with probability at most alpha. The finite reference pool is part of the ranks:
nothing is estimated from it. Ties are ordered against the owner (a suspect counts as larger than
the references it ties with). This gives the smallest evidence of all orders of the ties, so the
guarantee holds.

:class:`SequentialKeyed` is the counterpart of the keyed test. It cannot use a martingale over
images: given the message, all images of one innocent model lean the same way (its style agrees with
the message by chance), so multiplying bets over images would sooner or later accuse half of all
innocent models. The only randomness is the message itself, drawn once. Therefore alpha is divided
among looks that are fixed in advance, and each look has its own p
(:func:`siren_ext.stats.keyed_bounds.message_tail`). This is a nondecreasing e-process: each look
bets its share and wins 1 / alpha or nothing, and the expected sum is at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level
from siren_ext.stats.keyed import SCALE, checked_message, contributions
from siren_ext.stats.keyed_bounds import hoeffding_bound, message_tail
from siren_ext.stats.ks_distribution import P_FLOOR
from siren_ext.stats.looks import look_schedule, planned_looks
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets


@dataclass(frozen=True)
class SequentialResult:
    """State of a sequential test.

    Attributes
    ----------
    images : int
        t, the number of images so far.
    rejected : bool
        Whether the evidence has reached ln(1 / alpha) at any t so far; once True, it stays True.
    stopped_at : int or None
        The first t at which it did.
    p_value : float
        1 divided by the largest evidence so far, at most 1; valid at any stopping time. Values
        below 1e-300 are reported as 1e-300, an upper bound.
    alpha : float
        Accepted risk of a false accusation, over all t together.
    path : tuple of float
        Natural logarithm of the evidence after each image; the boundary is ln(1 / alpha). The
        evidence may fall again, but a rejection stands.
    """

    images: int
    rejected: bool
    stopped_at: int | None
    p_value: float
    alpha: float
    path: tuple[float, ...]

    @classmethod
    def of(cls, path: Sequence[float], alpha: float) -> SequentialResult:
        """The state that follows from the evidence so far.

        Parameters
        ----------
        path : sequence of float
            Natural logarithm of the evidence after each image.
        alpha : float
            Accepted risk, above 0 and below 1.
        """
        boundary = -math.log(alpha)
        crossed = next((t for t, value in enumerate(path, start=1) if value >= boundary), None)
        return cls(
            images=len(path),
            rejected=crossed is not None,
            stopped_at=crossed,
            p_value=max(math.exp(-max(0.0, max(path, default=0.0))), P_FLOOR),
            alpha=alpha,
            path=tuple(path),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class SequentialKs:
    """Test whether the suspect's scores tend to be smaller, one score at a time.

    Null hypothesis: suspect and reference scores are exchangeable (for instance independent draws
    from one distribution). A small p does not show *why* the suspect scores lower: like
    :func:`siren_ext.stats.ks.ks_less` the test compares with this reference, and a model of another
    style breaks the null without a coating. Copies of an image are not new observations and must
    not be passed in.

    Parameters
    ----------
    reference : array_like, shape (m,)
        Scores of the innocent reference, fixed before the first image.
    alpha : float
        Accepted risk of ever rejecting under the null, in (0, 1).
    effect : float or None
        The planned effect: by how many standard deviations normal scores are lowered, in (0, 20).
        Three quarters of the bet are placed on it, the rest on a range of other effects
        (:func:`siren_ext.stats.rank_evidence.shape_bets`). Fix it in advance, not from the scores;
        the test is valid even if it is wrong.

    Raises
    ------
    ScoreError
        If the reference is empty or not finite, or a setting is out of range.

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
        """Add the score of the next image.

        Parameters
        ----------
        score : float
            Its coating score.

        Returns
        -------
        SequentialResult
            The state after this image.

        Raises
        ------
        ScoreError
            If the score is not finite.
        """
        value = finite_list([score], "suspect scores")
        self._above.append(int(references_above(value, self._reference)[0]))
        above = np.array([self._above], dtype=np.int64)
        evidence = log_rank_evidence(above, len(self._reference), self._shapes, self._weights)
        self._path.append(float(evidence[0]))
        return self.result

    @property
    def result(self) -> SequentialResult:
        """The state of the test."""
        return SequentialResult.of(self._path, self.alpha)


class SequentialKeyed:
    """Test whether the images carry the secret message, one image at a time.

    Null hypothesis and what a small p does not prove: those of :mod:`siren_ext.stats.keyed`; the
    images may depend on each other in any way. The test looks at the evidence after the numbers of
    images in :attr:`looks`, each with its part of alpha in :attr:`shares`. Between looks, and after
    the last one, it cannot reject and the evidence does not change. If you stop without having
    looked at the secret's statistic, no correction is needed: the plain keyed test is still exact.

    Parameters
    ----------
    message : array_like, shape (k,)
        The secret signs, -1 or +1.
    alpha : float
        Accepted risk of ever rejecting under the null, in (0, 1).
    planned : int or None
        Number of images of a fixed plan (:func:`siren_ext.stats.keyed_power.plan_keyed`). The looks
        are then those of :func:`siren_ext.stats.looks.planned_looks`: few, with half of alpha at
        60 % of the plan. Without a plan, looks follow
        :func:`siren_ext.stats.looks.look_schedule` and share alpha equally.
    first, last : int
        Without a plan: number of images at the first and at the last look.
    ratio : float
        Without a plan: each look has about ``ratio`` times the images of the one before.
    scale : float or None
        As in :func:`siren_ext.stats.keyed.keyed_test`.

    Raises
    ------
    ScoreError
        If the message is malformed or a setting is out of range.

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
        """Add the features of the next image.

        Parameters
        ----------
        features : array_like, shape (k,)
            The extractor's logits.

        Returns
        -------
        SequentialResult
            The state after this image.

        Raises
        ------
        ScoreError
            If the features have another length or are not finite.
        """
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
            # the evidence is 1 until the first look
            self._path.append(self._path[-1] if self._path else 0.0)
        return self.result

    @property
    def result(self) -> SequentialResult:
        """The state of the test."""
        return SequentialResult.of(self._path, self.alpha)


def sequential_ks(
    suspect: ArrayLike, reference: ArrayLike, *, alpha: float = 1e-6, effect: float | None = None
) -> SequentialResult:
    """Run :class:`SequentialKs` on a list of scores.

    Null hypothesis and limits are those of the class.

    Parameters
    ----------
    suspect : array_like, shape (n,)
        Scores in the order in which the images were generated.
    reference, alpha, effect
        As in :class:`SequentialKs`.

    Raises
    ------
    ScoreError
        If scores are empty or not finite, or a setting is out of range.
    """
    test = SequentialKs(reference, alpha=alpha, effect=effect)
    for score in finite_list(suspect, "suspect scores"):
        test.update(float(score))
    return test.result


def sequential_keyed(
    features: ArrayLike, message: ArrayLike, *, alpha: float = 1e-6, **options: Any
) -> SequentialResult:
    """Run :class:`SequentialKeyed` on a list of features.

    Null hypothesis and limits are those of the class.

    Parameters
    ----------
    features : array_like, shape (n, k)
        The extractor's logits, in the order in which the images were generated.
    message, alpha
        As in :class:`SequentialKeyed`.
    **options
        The other parameters of :class:`SequentialKeyed`.

    Raises
    ------
    ScoreError
        If the features or the message are malformed or a setting is out of range.
    """
    test = SequentialKeyed(message, alpha=alpha, **options)
    rows = contributions(features, None)
    for row in rows:
        test.update(row)
    return test.result


def least_images(m: int, alpha: float, *, limit: int = 10_000) -> int | None:
    """After how many images :class:`SequentialKs` rejects if every score is below all references.

    Parameters
    ----------
    m : int
        Number of reference scores.
    alpha : float
        Accepted risk of a false accusation, in (0, 1).
    limit : int
        The largest number to consider.

    Returns
    -------
    int or None
        None if ``limit`` images are not enough.
    """
    boundary = -math.log(level(alpha))
    shapes, weights = shape_bets(None)
    for t in range(1, limit + 1):
        perfect = np.full((1, t), m, dtype=np.int64)
        if log_rank_evidence(perfect, m, shapes, weights)[0] >= boundary:
            return t
    return None
