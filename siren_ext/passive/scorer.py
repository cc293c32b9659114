"""The scoring model of dataset inference: standardised features, and one number per image.

The learnt model is a logistic regression with a squared penalty, as in the study's code
(scikit-learn's ``liblinear`` with C = 1). It is fitted here for many labellings of the same images
at once, which makes permutation tests affordable, so scikit-learn is not needed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scorer = Literal["logistic", "mean"]

_ITERATIONS = 50
_TOLERANCE = 1e-13
_HALVINGS = 20
# Labellings times products of features that are held at once: 64 MB.
_HELD = 8_000_000


def standardised(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Both tables with a column of ones, in units of the first one's mean and spread.

    Parameters
    ----------
    train, test : array, shape (m, d) and (k, d)
        Features of the images for fitting and of the others.

    Returns
    -------
    tuple[array, array]
        Shapes (m, d + 1) and (k, d + 1). A feature without any spread becomes 0.
    """
    centre, spread = train.mean(axis=0), train.std(axis=0)
    still = spread <= 1e-12 * np.maximum(np.abs(centre), 1e-300)
    scale = np.where(still, np.inf, spread)
    return _with_ones((train - centre) / scale), _with_ones((test - centre) / scale)


def scores(
    train: Floats,
    labels: Floats,
    test: Floats,
    *,
    scorer: Scorer = "logistic",
    penalty: float = 1.0,
) -> Floats:
    """Fit one model per labelling and score other images.

    Parameters
    ----------
    train : array, shape (m, d)
        Features of the images for fitting.
    labels : array, shape (b, m)
        +1 for a published image and -1 for an unpublished one, in each of b labellings.
    test : array, shape (k, d)
        Features of the images to score.
    scorer : {"logistic", "mean"}
        ``logistic`` learns which features tell the sets apart. ``mean`` learns nothing: the score
        falls with the mean of the standardised features, so all of them must be features that
        training on an image makes smaller.
    penalty : float
        C of the regression: the weight of the data against the squared penalty, above 0.

    Returns
    -------
    array, shape (b, k)
        0 to 1; for ``logistic`` the probability that an image is published, by each model.

    Notes
    -----
    The regression minimises |w|²/2 + C·Σ log(1 + exp(-y·w·x)). As in ``liblinear``, the weight of
    the column of ones is penalised like the others.
    """
    fit, rest = standardised(train, test)
    if scorer == "mean":
        known = probability(-rest[:, :-1].mean(axis=1))
        return np.broadcast_to(known, (len(labels), len(known)))
    step = max(1, _HELD // (fit.shape[1] ** 2 + len(fit)))
    parts = [
        logistic_weights(fit, labels[start : start + step], penalty) @ rest.T
        for start in range(0, len(labels), step)
    ]
    return probability(np.concatenate(parts))


def logistic_weights(table: Floats, labels: Floats, penalty: float = 1.0) -> Floats:
    """The weights of a logistic regression, for many labellings of the same rows.

    Parameters
    ----------
    table : array, shape (m, d)
        Standardised features with a column of ones.
    labels : array, shape (b, m)
        +1 or -1.
    penalty : float
        C, above 0.

    Returns
    -------
    array, shape (b, d)
        The minimiser for each labelling, by Newton's method with halved steps where needed.
    """
    rows, width = table.shape
    first, second = np.triu_indices(width)
    products = table[:, first] * table[:, second]
    weights = np.zeros((len(labels), width))
    loss = _loss(table, labels, weights, penalty)
    for _ in range(_ITERATIONS):
        wrong = probability(-labels * (weights @ table.T))
        slope = weights - penalty * (labels * wrong) @ table
        bend = np.empty((len(labels), width, width))
        bend[:, first, second] = penalty * (wrong * (1 - wrong)) @ products
        bend[:, second, first] = bend[:, first, second]
        bend[:, range(width), range(width)] += 1.0
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        gain = np.einsum("bd,bd->b", slope, step)
        if gain.max() <= _TOLERANCE * rows * penalty:
            break
        size = np.ones((len(labels), 1))
        for _ in range(_HALVINGS):
            trial = weights - size * step
            lower = _loss(table, labels, trial, penalty)
            worse = lower > loss + 1e-12 * np.abs(loss)
            if not worse.any():
                break
            size[worse] /= 2
        weights, loss = trial, lower
    return weights


def probability(margin: Floats) -> Floats:
    """The logistic function, 1 / (1 + exp(-margin)), without overflow.

    Parameters
    ----------
    margin : array
        Any shape.

    Returns
    -------
    array
        The same shape, 0 to 1.
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * margin)))


def _loss(table: Floats, labels: Floats, weights: Floats, penalty: float) -> Floats:
    """The penalised loss of every labelling."""
    fit = np.logaddexp(0.0, -labels * (weights @ table.T)).sum(axis=1)
    return np.asarray(0.5 * (weights**2).sum(axis=1) + penalty * fit)


def _with_ones(table: Floats) -> Floats:
    return np.concatenate([table, np.ones((len(table), 1))], axis=1)
