"""What every test asks of its numbers before it believes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError


def finite_list(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """``values`` as a float64 vector; raises :class:`ScoreError` if empty or not finite."""
    ready = np.asarray(values, dtype=np.float64)
    if ready.ndim != 1 or ready.size == 0:
        raise ScoreError(
            f"The {name} have shape {ready.shape}; expected a list of at least one number."
        )
    if not np.isfinite(ready).all():
        bad = int((~np.isfinite(ready)).sum())
        raise ScoreError(f"{bad} of {len(ready)} {name} are not finite numbers; make them again.")
    return ready


def level(value: float, name: str = "alpha") -> float:
    """``value`` if it lies strictly between 0 and 1; raises :class:`ScoreError`."""
    if not 0 < value < 1:
        raise ScoreError(f"{name} is {value}; expected a number between 0 and 1.")
    return float(value)
