"""Many random subsets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw_subsets(count: int, total: int, size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """``count`` independent uniform subsets of ``size`` out of ``total``; bool (count, total).

    Floyd's algorithm run for all subsets side by side: ``size`` vector steps, no sorting.
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
