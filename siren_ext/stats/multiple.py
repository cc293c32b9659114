"""Several tests at once: over models, prompts, keys or recipients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError
from siren_ext.stats.checks import finite_list, level

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MultipleResult:
    """Outcome of several tests, corrected for their number.

    Attributes
    ----------
    adjusted : tuple of float
        One adjusted p in [0, 1] per test, in the order given.
    rejected : tuple of bool
        Which tests reject: those whose adjusted p is at most ``alpha``.
    alpha : float
        The accepted risk.
    method : {"holm", "benjamini-hochberg"}
        Defines the risk; see :func:`holm` and :func:`benjamini_hochberg`.
    """

    adjusted: tuple[float, ...]
    rejected: tuple[bool, ...]
    alpha: float
    method: Literal["holm", "benjamini-hochberg"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def holm(p_values: ArrayLike, *, alpha: float = 0.05) -> MultipleResult:
    """Holm's step-down correction: the chance of *any* false rejection is at most ``alpha``.

    Null hypothesis of test i: that of the test which gave ``p_values[i]``. Valid for any dependence
    between the tests (models given the same prompts, keys tried on the same images). Use it
    wherever each rejection is an accusation.

    A rejection shows no more than the single test does; the correction only accounts for the number
    of tests. It covers the tests passed in, not others that were tried and left out.

    Parameters
    ----------
    p_values : array_like, shape (k,)
        One valid p per test, each in [0, 1].
    alpha : float
        Accepted risk of one or more false rejections, in (0, 1).

    Raises
    ------
    ScoreError
        If a value is out of range or there are no p-values.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6.
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    ordered = np.maximum.accumulate(values[order] * factors)
    return _result(order, ordered, alpha, "holm")


def benjamini_hochberg(p_values: ArrayLike, *, alpha: float = 0.05) -> MultipleResult:
    """Benjamini and Hochberg's step-up: on average at most ``alpha`` of the rejections are false.

    Null hypothesis of test i: that of the test which gave ``p_values[i]``. Valid for tests that are
    independent or positively dependent (Benjamini and Yekutieli 2001). Use it to screen many models
    for a closer look. *Single* rejections in the list may well be false, so they are not enough for
    an accusation; use :func:`holm` for that.

    Parameters
    ----------
    p_values : array_like, shape (k,)
        One valid p per test, each in [0, 1].
    alpha : float
        Accepted expected share of false rejections among the rejections, in (0, 1).

    Raises
    ------
    ScoreError
        If a value is out of range or there are no p-values.

    References
    ----------
    Benjamini and Hochberg (1995), "Controlling the false discovery rate", JRSS B 57(1);
    Benjamini and Yekutieli (2001), Ann. Statist. 29(4).
    """
    values = _checked(p_values)
    order = np.argsort(values, kind="stable")
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    ordered = np.minimum.accumulate(scaled[::-1])[::-1]
    return _result(order, ordered, alpha, "benjamini-hochberg")


def _checked(p_values: ArrayLike) -> Floats:
    """The p-values as a vector, if all lie in [0, 1]."""
    values = finite_list(p_values, "p-values")
    if values.min() < 0 or values.max() > 1:
        raise ScoreError(
            f"The p-values range from {values.min():g} to {values.max():g}; expected 0 to 1."
        )
    return values


def _result(
    order: NDArray[np.intp],
    ordered: Floats,
    alpha: float,
    method: Literal["holm", "benjamini-hochberg"],
) -> MultipleResult:
    """The result from adjusted p-values in ascending order of p."""
    level(alpha)
    adjusted = np.empty_like(ordered)
    adjusted[order] = np.minimum(ordered, 1.0)
    rejected = tuple(bool(value <= alpha) for value in adjusted)
    return MultipleResult(tuple(float(v) for v in adjusted), rejected, alpha, method)
