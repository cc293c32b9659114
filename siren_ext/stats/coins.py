"""Tests of coins: does a model prefer the published copy of each image to its twin?

Notation: of every image there are two coated copies, side 0 and side 1, and a fair coin c_i chose
the side that was published. d_i says how much more the model likes side 0 than side 1 of image i,
and s_i is +1 if side 0 was published and -1 if side 1 was. Each |d_i| is replaced by a whole number
from 1 to 20 by its rank, so that no image decides alone (:func:`strengths`), and the statistic is
T = sum s_i F_i with F_i = sign(d_i) times that number.

Null hypothesis of every test here: the coins are fair, independent, and independent of the model.
It holds for *any* model that was trained without the published copies, whatever else it was trained
on, also the originals, other coated copies, or images of the same subject: the two sides differ by
the coin alone. Given the |d_i|, all 2^n outcomes of the coins are then equally likely, and
P(T >= t) is counted exactly.

A small p does not show who trained the model, nor that the training was unlawful. It fails to mean
anything if the owner did not let a fair coin choose (the record of the coins, committed before
publication, rules out that they were chosen after looking at the model), or if images, model or
settings were picked by looking at the result. Pictures of a model that was trained on the published
copies may carry a trace of their coins to a second model.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level
from siren_ext.stats.keyed_bounds import share_of_messages, whole_distribution
from siren_ext.stats.sequential import SequentialResult

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

LARGEST = 20
"""The largest strength of an image."""
_BETS = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class UsedCopies:
    """How many of the published copies a model was trained on.

    Attributes
    ----------
    low : float
        Lower limit of the share. Exact: it assumes nothing but fair coins.
    share : float
        Estimate. Without ``hit`` it counts a used image as one whose published copy is preferred
        for certain, so that it is too low if training was weak.
    high : float
        Upper limit, which needs ``hit``; 1 without it.
    confidence : float
        Of the two limits together.
    hit : float or None
        Assumed share of the used images whose published copy is preferred, above 0.5 to 1.
    """

    low: float
    share: float
    high: float
    confidence: float
    hit: float | None


@dataclass(frozen=True)
class CoinsResult:
    """Outcome of a test of coins.

    Attributes
    ----------
    p_value : float
        Share of all 2^n outcomes of the coins whose statistic is at least as large; exact.
    statistic : int
        T.
    images : int
        n.
    right : int
        Images whose published copy is preferred.
    ties : int
        Images without a preference, which count for nothing.
    sign_p : float
        p of the sign test: P(at least ``right`` of the n - ties coins), exact.
    smallest_p : float
        p if every published copy were preferred.
    span : int
        The largest T possible.
    spread : float
        Standard deviation of T over all coins.
    sequential_p : float
        p of :class:`SequentialCoins` in the order of the images; valid at any stopping time.
    used : UsedCopies
        Share of the published copies that were used.
    """

    p_value: float
    statistic: int
    images: int
    right: int
    ties: int
    sign_p: float
    smallest_p: float
    span: int
    spread: float
    sequential_p: float
    used: UsedCopies

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def coins_test(
    differences: ArrayLike,
    coins: ArrayLike,
    *,
    confidence: float = 0.95,
    hit: float | None = None,
) -> CoinsResult:
    """Test whether a model knows which side of every image was published.

    Null hypothesis and what a small p does not prove: see the module.

    Parameters
    ----------
    differences : array_like, shape (n,)
        d_i: how much more the model likes side 0 than side 1, such as the loss of side 1 minus that
        of side 0.
    coins : array_like, shape (n,)
        0 where side 0 was published, 1 where side 1 was.
    confidence : float
        Of the interval of the share that was used, in (0, 1).
    hit : float or None
        See :class:`UsedCopies`; measured on a model that was trained on all published copies.

    Returns
    -------
    CoinsResult
        All figures. The p of ``p_value`` is the one to report; the others are shown beside it.

    Raises
    ------
    ScoreError
        If differences and coins do not fit together, or a setting is out of range.

    References
    ----------
    Fisher's randomisation test and Wilcoxon (1945), Biometrics Bulletin 1(6), for ranks; Pagano and
    Tritchler (1983), JASA 78, for the counting.
    """
    values, signs = _checked(differences, coins)
    weights = strengths(values)
    agree = np.sign(values) * signs
    statistic = int(agree @ weights)
    spread = whole_distribution(weights)
    right, ties = int((agree > 0).sum()), int((agree == 0).sum())
    return CoinsResult(
        p_value=share_of_messages(spread, statistic),
        statistic=statistic,
        images=len(values),
        right=right,
        ties=ties,
        sign_p=_binomial_tail(right, len(values) - ties),
        smallest_p=share_of_messages(spread, int(weights.sum())),
        span=int(weights.sum()),
        spread=math.sqrt(float((weights**2).sum())),
        sequential_p=sequential_coins(values, coins).p_value,
        used=used_copies(values, coins, confidence=confidence, hit=hit),
    )


def strengths(differences: ArrayLike) -> Whole:
    """Whole numbers by the ranks of |d_i|.

    Parameters
    ----------
    differences : array_like, shape (n,)
        d_i.

    Returns
    -------
    array, shape (n,)
        int64 from 1 to 20, the rank of |d_i| among all times 20 / n, rounded up; equal |d_i| share
        the largest rank of theirs. 0 where d_i is 0. They do not depend on the coins.
    """
    sizes = np.abs(np.asarray(differences, dtype=np.float64))
    ranks = np.searchsorted(np.sort(sizes), sizes, side="right")
    return np.where(sizes > 0, -(-LARGEST * ranks // max(len(sizes), 1)), 0).astype(np.int64)


def used_copies(
    differences: ArrayLike,
    coins: ArrayLike,
    *,
    confidence: float = 0.95,
    hit: float | None = None,
) -> UsedCopies:
    """Estimate which share of the published copies a model was trained on.

    Parameters
    ----------
    differences, coins, confidence, hit
        As in :func:`coins_test`.

    Returns
    -------
    UsedCopies
        Estimate and limits.

    Raises
    ------
    ScoreError
        As :func:`coins_test`.

    Notes
    -----
    ``low``: if u images were used, the coins of the other n - u are fair and independent of the
    model. T is then stochastically largest if the used ones are those with the largest strengths
    and all of them are right, so P(sum of those u + sum of fair signs of the rest >= t) bounds
    P(T >= t). The limit is the smallest u for which this is not below the accepted error. Nothing
    is assumed about the used images.

    ``high``: the largest u for which so few right images are not too rare, if a used image is right
    with probability ``hit``, independently of the others.
    """
    values, signs = _checked(differences, coins)
    miss = (1 - level(confidence, "confidence")) / 2
    if hit is not None and not 0.5 < hit <= 1:
        raise ScoreError(f"hit is {hit:g}; expected more than 0.5 and at most 1.")
    agree = np.sign(values) * signs
    kept = agree != 0
    count, right = len(values), int((agree > 0).sum())
    weights = np.sort(strengths(values))[::-1]
    statistic = int(agree @ strengths(values))
    low, high = 0, int(kept.sum())
    while low < high:  # the bound grows with u
        middle = (low + high) // 2
        rest = whole_distribution(weights[middle:])
        if share_of_messages(rest, statistic - int(weights[:middle].sum())) > miss:
            high = middle
        else:
            low = middle + 1
    excess = max(0.0, 2 * right - int(kept.sum())) / count
    upper = 1.0
    if hit is not None:
        excess = min(1.0, excess / (2 * hit - 1))
        upper = _most_used(right, int(kept.sum()), hit, miss) / count
        upper += (count - int(kept.sum())) / count  # images without a preference may be used ones
    share = max(excess, low / count)
    return UsedCopies(low / count, share, max(min(1.0, upper), share), confidence, hit)


class SequentialCoins:
    """Test of coins, one image at a time, valid whenever it is stopped.

    Null hypothesis and what a small p does not prove: see the module. The evidence is the capital
    of a gambler who bets on every coin before it is shown, and more on images with a large |d_i|
    among those so far. Under the null no bet is better than another, so the expected capital stays
    1, and by Ville's inequality it ever reaches 1 / alpha with probability at most alpha. More
    images may be measured at any time, in the order of the record; choosing which ones is not
    allowed.

    Parameters
    ----------
    alpha : float
        Accepted risk of ever rejecting under the null, in (0, 1).

    References
    ----------
    Ville (1939), Etude critique de la notion de collectif; Waudby-Smith and Ramdas (2024),
    "Estimating means of bounded random variables by betting", JRSS B 86(1).
    """

    def __init__(self, *, alpha: float = 1e-6) -> None:
        self.alpha = level(alpha)
        self._sizes: list[float] = []
        self._capital = np.zeros(len(_BETS))  # natural logarithms
        self._path: list[float] = []

    def update(self, difference: float, coin: int) -> SequentialResult:
        """Add an image.

        Parameters
        ----------
        difference : float
            d_i.
        coin : int
            0 or 1.

        Returns
        -------
        SequentialResult
            The state after this image.

        Raises
        ------
        ScoreError
            If a value is out of range.
        """
        values, signs = _checked([difference], [coin])
        size = abs(float(values[0]))
        bisect.insort(self._sizes, size)
        rank = bisect.bisect_right(self._sizes, size) / len(self._sizes)
        stake = np.array(_BETS) * rank * float(np.sign(values[0]) * signs[0])
        self._capital += np.log1p(stake)
        top = float(self._capital.max())
        self._path.append(top + math.log(float(np.exp(self._capital - top).mean())))
        return self.result

    @property
    def result(self) -> SequentialResult:
        """The state of the test."""
        return SequentialResult.of(self._path, self.alpha)


def sequential_coins(
    differences: ArrayLike, coins: ArrayLike, *, alpha: float = 1e-6
) -> SequentialResult:
    """Run :class:`SequentialCoins` on all images in order.

    Null hypothesis and limits are those of the class.

    Parameters
    ----------
    differences, coins
        As in :func:`coins_test`.
    alpha : float
        As in :class:`SequentialCoins`.

    Raises
    ------
    ScoreError
        As :func:`coins_test`.
    """
    values, _ = _checked(differences, coins)
    test = SequentialCoins(alpha=alpha)
    for value, coin in zip(values, np.asarray(coins), strict=True):
        test.update(float(value), int(coin))
    return test.result


def _checked(differences: ArrayLike, coins: ArrayLike) -> tuple[Floats, Floats]:
    """Differences, and +1 for coin 0 and -1 for coin 1."""
    values = finite_list(differences, "differences")
    sides = np.asarray(coins, dtype=np.float64)
    if sides.shape != values.shape or not np.isin(sides, (0, 1)).all():
        raise ScoreError(
            f"There are {len(values)} differences and coins of shape {sides.shape}; expected a "
            "coin toss, 0 or 1, for each difference."
        )
    return values, 1 - 2 * sides


def _binomial_tail(successes: int, trials: int) -> float:
    """P(at least so many heads of fair coins), exact."""
    return share_of_messages(
        whole_distribution(np.ones(trials, dtype=np.int64)), 2 * successes - trials
    )


def _most_used(right: int, count: int, hit: float, miss: float) -> int:
    """The largest u with P(Bin(u, hit) + Bin(count - u, 1/2) <= right) >= ``miss``."""
    from scipy.stats import binom

    low, high = 0, count
    while low < high:  # the probability falls with u
        middle = (low + high + 1) // 2
        fair = binom.pmf(np.arange(count - middle + 1), count - middle, 0.5)
        below = binom.cdf(right - np.arange(count - middle + 1), middle, hit)
        if float(fair @ below) >= miss:
            low = middle
        else:
            high = middle - 1
    return low
