"""What pictures look like in a few plain numbers: whether two pools are alike enough to compare.

A comparison of scores takes for granted that an innocent suspect would draw pictures like the
reference's. Scores of pictures of another style or subject differ whatever the model was trained
on, so that with enough of them *any* such model would be accused. These numbers tell such pools
apart; a coating, which has to be invisible, hardly moves them.
"""

from __future__ import annotations

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
"""One of each pair is said of pictures with a smaller or larger number, in the numbers' order."""
LIMIT = 0.8
"""Share of pairs of pictures, beyond chance, from which two pools are not comparable.

Models of one set, coated or not, reach 0.77 (0.82 when trained under another prompt); those of
other people's pictures 0.94 and more (docs/panel.md).
"""
_ERRORS = 2.0
_DIGITS = 3


def looks_of(view: Tensor) -> tuple[float, ...]:
    """Mean and spread of the CIE Lab channels, edges and chroma of a 1 x 3 x H x W in [0,1]."""
    from siren_ext.metrics.colour import srgb_to_lab  # verdicts need no torch

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
        of pairs of pictures, one of each pool, in which the first pool's is ``words`` (the
        area under the curve), 0.5 to 1.
    error : float
        standard error of that share were there no difference.
    words : str
        how the first pool's pictures look beside the second's.
    """

    share: float
    error: float
    words: str

    @property
    def comparable(self) -> bool:
        """Whether scores of these pools may be compared."""
        return self.share - _ERRORS * self.error <= LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "share": self.share,
            "error": self.error,
            "words": self.words,
            "comparable": self.comparable,
        }


def too_unlike(apart: Contrast | None) -> bool:
    """Whether scores may not be compared; where nothing is known of looks they may."""
    return apart is not None and not apart.comparable


def contrast(first: NDArray[np.float64], second: NDArray[np.float64]) -> Contrast:
    """How unlike two pools look, n x 8 and m x 8 numbers of :func:`looks_of`.

    The share is Mann and Whitney's U / nm, ties counted half; its null hypothesis is that both
    pools come from one distribution. The largest of eight is taken without correction: it serves as
    the size of an effect, not as a test.
    """
    return next(contrasts(first, [second]))


def contrasts(
    first: NDArray[np.float64], others: Iterable[NDArray[np.float64]]
) -> Iterator[Contrast]:
    """:func:`contrast` of one pool and each of several others; the first is sorted only once."""
    ordered = np.sort(first, axis=0).T
    n = len(first)
    for second in others:
        m = len(second)
        pairs = list(zip(ordered, second.T, strict=True))
        below = np.array([np.searchsorted(own, other).sum() for own, other in pairs])
        not_above = np.array([np.searchsorted(own, other, "right").sum() for own, other in pairs])
        shares = (n * m - (below + not_above) / 2) / (n * m)
        place = int(np.abs(shares - 0.5).argmax())
        more = bool(shares[place] >= 0.5)
        share = float(shares[place] if more else 1 - shares[place])
        error = float(np.sqrt((n + m + 1) / (12 * n * m)))
        yield Contrast(share, error, LESS_MORE[place][more])
