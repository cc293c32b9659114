"""The part of two score distributions where a coating can show: the low end of the reference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list

Floats = NDArray[np.float64]

LOW_END = 0.25
"""Where a shift of one to two standard deviations opens its largest gap, and more does so below."""


def low_end(
    suspect: ArrayLike, reference: ArrayLike, share: float = LOW_END
) -> tuple[Floats, Floats]:
    """Both samples with everything above the lowest ``share`` of the reference made equal.

    A coating makes *low* scores. Innocent models that differ in their training seed alone already
    differ a little in the rest of the distribution, and a test that looks for a gap there accuses
    them more often than it says. A one-sided test of what is given back looks for its gap D+ among
    the low scores only. That gap is never larger than the one over all scores, so p of the usual
    table stays valid (an upper bound) under the usual null hypothesis, for any ``share`` that was
    fixed beforehand; complete separation still gives D+ = 1.

    ``suspect`` (n,), ``reference`` (m,), ``share`` in (0, 1]; 1 changes no gap. Raises
    :class:`ScoreError` on empty or non-finite scores or another share.
    """
    if not 0 < share <= 1:
        raise ScoreError(f"The low end's share is {share}; expected more than 0 and at most 1.")
    first = finite_list(suspect, "suspect scores")
    second = finite_list(reference, "reference scores")
    place = max(1, math.ceil(share * len(second))) - 1
    ceiling = np.partition(second, place)[place]
    return np.minimum(first, ceiling), np.minimum(second, ceiling)
