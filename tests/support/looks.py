"""Looks of pictures, drawn at random."""

from __future__ import annotations

import numpy as np

from siren_ext.scoring.appearance import LESS_MORE

LOOKS = len(LESS_MORE)


def table(n: int, seed: int, **shift: float) -> np.ndarray:
    """Looks of n pictures, normal, with the mean of some numbers moved."""
    looks = np.random.default_rng(seed).normal(0, 1, (n, LOOKS))
    for place, amount in shift.items():
        looks[:, int(place.removeprefix("at"))] += amount
    return looks
