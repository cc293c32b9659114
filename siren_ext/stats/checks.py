"""Checks that every test makes on its input."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError


def finite_list(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """``values`` as a float64 vector of at least one number.

    Parameters
    ----------
    values : array_like, shape (n,)
        The numbers.
    name : str
        What they are, in the plural, for the error message.

    Raises
    ------
    ScoreError
        If there are none, or some are not finite.
    """
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
    """``value`` as a float, if it lies strictly between 0 and 1.

    Parameters
    ----------
    value : float
        A significance level or a power.
    name : str
        What it is, for the error message.

    Raises
    ------
    ScoreError
        If it is 0 or less, 1 or more, or not a number.
    """
    if not 0 < value < 1:
        raise ScoreError(f"{name} is {value}; expected a number between 0 and 1.")
    return float(value)
