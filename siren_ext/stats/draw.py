"""Draw many random subsets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_subsets(count: int, total: int, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Independent, uniformly random subsets, drawn without replacement.

    Parameters
    ----------
    count : int
        Number of subsets.
    total : int
        Number of elements to choose from.
    size : int
        Elements in each subset, from 0 to ``total``.
    rng : numpy.random.Generator
        Draws them.

    Returns
    -------
    bool array, shape (count, total)
        True marks the elements of each subset.

    Notes
    -----
    Floyd's algorithm, run on all subsets at the same time: ``size`` vector steps and no sorting.

    References
    ----------
    Bentley and Floyd (1987), "Programming pearls: a sample of brilliance", Commun. ACM 30(9).
    """
    if size > total - size:
        return ~draw_subsets(count, total, total - size, rng)
    chosen = np.zeros((count, total), dtype=np.bool_)
    rows = np.arange(count)
    for last in range(total - size, total):
        pick = rng.integers(0, last + 1, size=count)
        pick[chosen[rows, pick]] = last
        chosen[rows, pick] = True
    return chosen
