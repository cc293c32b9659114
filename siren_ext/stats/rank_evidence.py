"""Evidence in the ranks of the suspect's scores among the reference scores (Savage 1956)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.errors import ScoreError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Lehmann shapes d for scores lowered by about 0.1 to 4 standard deviations.
SHAPES = (0.9, 0.8, 0.6, 0.45, 0.3, 0.2, 0.12, 0.07)
_CELLS = 1 << 18


def references_above(scores: ArrayLike, reference: Floats) -> Ints:
    """Number of reference scores strictly greater than each score; ``reference`` is ascending."""
    return len(reference) - np.searchsorted(reference, scores, side="right").astype(np.int64)


def shape_bets(effect: float | None) -> tuple[Floats, Floats]:
    """The Lehmann shapes to bet on, and their weights.

    Parameters
    ----------
    effect : float or None
        The planned effect: by how many standard deviations normal scores are lowered, in (0, 20).

    Returns
    -------
    shapes : array, shape (S,)
        d in (0, 1): those of :data:`SHAPES`, and that of ``effect`` if given.
    weights : array, shape (S,)
        They sum to 1; three quarters belong to ``effect``.

    Raises
    ------
    ScoreError
        If ``effect`` is out of range.

    Notes
    -----
    The shape of an effect maximises the expected log density ln d + (d - 1) E[ln U], so it is
    1 / E[-ln U].
    """
    shapes = np.array(SHAPES)
    weights = np.full(len(shapes), 1 / len(shapes))
    if effect is None:
        return shapes, weights
    if not 0 < effect < 20:
        raise ScoreError(f"effect is {effect}; expected a number between 0 and 20.")
    from scipy.special import log_ndtr, ndtri

    z = ndtri((np.arange(20_000) + 0.5) / 20_000)
    planned = -1 / float(np.mean(log_ndtr(z - effect)))
    return np.append(shapes, planned), np.append(weights / 4, 0.75)


def log_rank_evidence(above: Ints, m: int, shapes: Floats, weights: Floats) -> Floats:
    """Logarithm of the mixed rank likelihood ratio, for several tests at once.

    Parameters
    ----------
    above : int array, shape (rows, t)
        For each suspect score, how many of the m references are strictly greater. Equal ones are
        not counted, so in a tie the suspect is read first, which gives the smallest evidence.
    m : int
        Number of reference scores.
    shapes, weights : arrays, shape (S,)
        The mixture over d in (0, 1).

    Returns
    -------
    array, shape (rows,)
        Natural logarithms. Under the null each row, as t grows, is the logarithm of a test
        martingale.

    Notes
    -----
    Read all m + t scores from the largest down. The alternative F = G^d draws the next score from
    those left with weight 1 per reference and d per suspect, the null with equal weights. So
    M_d = (m + t)! d^t / prod(A + d B), with A references and B suspects left at each step.

    References
    ----------
    Savage (1956), Ann. Math. Statist. 27, 590-615.
    """
    rows, t = above.shape
    result = np.empty(rows)
    chunk = max(1, _CELLS // (m + t))
    falling = np.arange(t, 0, -1)
    constant = math.lgamma(m + t + 1)
    for start in range(0, rows, chunk):
        part = np.sort(above[start : start + chunk], axis=1)
        count = len(part)
        slots = np.arange(count)[:, None] * (m + 1) + part
        histogram = np.bincount(slots.ravel(), minlength=count * (m + 1)).reshape(count, m + 1)
        # suspects left when the first, second ... m-th reference from the top is read
        left = t - np.cumsum(histogram, axis=1)[:, :m]
        logs = np.empty((len(shapes), count))
        for index, shape in enumerate(shapes):
            logs[index] = constant + t * math.log(shape) + math.log(weights[index])
            logs[index] -= np.log(np.arange(m, 0, -1) + shape * left).sum(axis=1)
            logs[index] -= np.log(m - part + shape * falling).sum(axis=1)
        top = logs.max(axis=0)
        result[start : start + chunk] = top + np.log(np.exp(logs - top).sum(axis=0))
    return result
