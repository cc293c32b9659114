"""What pictures look like, in a few numbers, to check that two pools can be compared.

Comparing scores assumes that an innocent suspect would make pictures like the reference's. Pictures
of another style or subject have other scores, whatever the model was trained on, so with enough of
them *any* such model would be accused. These numbers show when two pools differ in this way. A
coating hardly changes them, because it is nearly invisible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LESS_MORE = (
    ("darker", "lighter"),
    ("greener", "redder"),
    ("bluer", "yellower"),
    ("of less contrast", "of more contrast"),
    ("less varied from green to red", "more varied from green to red"),
    ("less varied from blue to yellow", "more varied from blue to yellow"),
    ("smoother", "richer in detail"),
    ("greyer", "more colourful"),
)
"""For each of the numbers, the words for pictures with a smaller and with a larger value."""
LIMIT = 0.9
"""Two pools are comparable if the upper 95 % bound of their contrast is at most this.

``python benchmarks/likeness.py FOLDER ...`` prints what halves of one set and pairs of different
sets reach; none of them was used to choose the limit.
"""
MIN_IMAGES = 15
"""Pools with fewer pictures are not comparable, because their contrast is not known well enough."""
_SURE = 1.6449  # standard errors of a one-sided bound with 95 % confidence
_DIGITS = 3


def looks_of(view: Tensor) -> tuple[float, ...]:
    """The numbers of one picture.

    Parameters
    ----------
    view : Tensor
        1 x 3 x H x W in [0,1].

    Returns
    -------
    tuple of float
        Eight numbers in CIE Lab units: mean of L*, a* and b*, their standard deviations, the mean
        difference of lightness between neighbouring pixels, and the mean chroma.
    """
    from siren_ext.metrics.colour import srgb_to_lab  # here, because verdicts need no torch

    lab = srgb_to_lab(view.detach().float())[0]
    light = lab[0]
    edges = light.diff(dim=0).abs().mean() + light.diff(dim=1).abs().mean()
    chroma = lab[1:].norm(dim=0).mean()
    numbers = [*lab.mean((1, 2)), *lab.std((1, 2)), edges, chroma]
    return tuple(round(float(number), _DIGITS) for number in numbers)


@dataclass(frozen=True)
class Contrast:
    """The number in which two pools differ most.

    Attributes
    ----------
    share : float
        Share of pairs of pictures, one from each pool, in which the first pool's picture is
        ``words`` (the area under the ROC curve); from 0.5 to 1.
    n, m : int
        Number of pictures of the first and of the second pool.
    words : str
        How the first pool's pictures look compared with the second's.
    """

    share: float
    n: int
    m: int
    words: str

    @property
    def error(self) -> float:
        """Standard error of the share.

        References
        ----------
        Hanley and McNeil (1982), "The meaning and use of the area under a receiver operating
        characteristic (ROC) curve", Radiology 143, Eq. 1 and 2.
        """
        own = self.share
        twice = own / (2 - own) - own * own  # Q1 - A^2
        again = 2 * own * own / (1 + own) - own * own  # Q2 - A^2
        variance = own * (1 - own) + (self.n - 1) * twice + (self.m - 1) * again
        return math.sqrt(max(0.0, variance) / (self.n * self.m))

    @property
    def upper(self) -> float:
        """The upper bound of the share, with 95 % confidence; at most 1."""
        return min(1.0, self.share + _SURE * self.error)

    @property
    def enough(self) -> bool:
        """Whether both pools have enough pictures to tell whether they look alike."""
        return min(self.n, self.m) >= MIN_IMAGES

    @property
    def comparable(self) -> bool:
        """Whether the scores of the two pools may be compared: the pictures are shown to be alike.

        Not knowing is not enough: a few pictures of another kind could not be told from the others.
        """
        return self.enough and self.upper <= LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share": self.share,
            "upper": self.upper,
            "n": self.n,
            "m": self.m,
            "words": self.words,
            "comparable": self.comparable,
        }


@dataclass(frozen=True)
class EarlierContrast(Contrast):
    """A contrast as reports stated and judged it before likeness had to be shown.

    Pools were comparable unless it was nearly sure that they looked unlike.
    """

    @property
    def error(self) -> float:
        """Standard error of the share if there were no difference."""
        return float(np.sqrt((self.n + self.m + 1) / (12 * self.n * self.m)))

    @property
    def comparable(self) -> bool:
        """Whether the scores of the two pools could be compared."""
        return self.share - 2.0 * self.error <= 0.8

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share": self.share,
            "error": self.error,
            "words": self.words,
            "comparable": self.comparable,
        }


def too_unlike(apart: Contrast | None) -> bool:
    """Whether the pictures of two pools are not shown to be alike.

    Parameters
    ----------
    apart : Contrast or None
        The contrast; None if it is not known.

    Returns
    -------
    bool
        False if the contrast is unknown; see :func:`shown_alike`.
    """
    return apart is not None and not apart.comparable


def shown_alike(apart: Contrast | None) -> bool:
    """Whether the pictures of two pools are shown to be alike.

    Parameters
    ----------
    apart : Contrast or None
        The contrast; None if it is not known.

    Returns
    -------
    bool
        False if the contrast is unknown.
    """
    return apart is not None and apart.comparable


def contrast(first: NDArray[np.float64], second: NDArray[np.float64]) -> Contrast:
    """The number in which the pictures of two pools differ most.

    Parameters
    ----------
    first, second : array
        n x 8 and m x 8 numbers of :func:`looks_of`.

    Returns
    -------
    Contrast
        The largest of the eight differences, without correction for their number: it is the size of
        an effect, not a test.

    References
    ----------
    Mann and Whitney (1947), Ann. Math. Statist. 18: the share is U / (n m), with ties counted half.
    """
    return next(contrasts(first, [second]))


def contrasts(
    first: NDArray[np.float64], others: Iterable[NDArray[np.float64]]
) -> Iterator[Contrast]:
    """:func:`contrast` of one pool with each of several others, faster than one by one.

    Parameters
    ----------
    first : array
        n x 8.
    others : iterable of array
        Each m x 8.

    Yields
    ------
    Contrast
        One for each of the others.
    """
    ordered = np.sort(first, axis=0).T
    n = len(first)
    for second in others:
        m = len(second)
        pairs = list(zip(ordered, second.T, strict=True))
        below = np.array([np.searchsorted(own, other).sum() for own, other in pairs])
        not_above = np.array([np.searchsorted(own, other, "right").sum() for own, other in pairs])
        shares = (n * m - (below + not_above) / 2) / (n * m)
        most = int(np.abs(shares - 0.5).argmax())
        more = bool(shares[most] >= 0.5)
        share = float(shares[most] if more else 1 - shares[most])
        yield Contrast(share, n, m, LESS_MORE[most][more])
