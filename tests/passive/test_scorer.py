"""The scoring model: it minimises what it says, for every labelling, and scores other images."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.passive.scorer import logistic_weights, probability, scores, standardised


def table(rows: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, width))


def signs(count: int, rows: int, seed: int = 1) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random((count, rows)) < 0.5, 1.0, -1.0)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_the_slope_is_zero_at_the_weights(penalty: float) -> None:
    fit, _ = standardised(table(40, 26), table(1, 26))
    labels = signs(7, 40)
    weights = logistic_weights(fit, labels, penalty)
    slope = weights - penalty * (labels * probability(-labels * (weights @ fit.T))) @ fit
    assert np.abs(slope).max() < 1e-4 * max(1.0, penalty)


def test_sets_that_are_fully_apart_and_outliers_give_finite_weights() -> None:
    fit = table(40, 26)
    labels = np.sign(fit[:, 0])[None]
    fit[3] *= 1e4
    weights = logistic_weights(standardised(fit, fit)[0], labels, 1e6)
    assert np.isfinite(weights).all()


def test_every_labelling_is_fitted_as_if_alone() -> None:
    train, test, labels = table(30, 5), table(9, 5, 2), signs(6, 30)
    together = scores(train, labels, test)
    for row, single in zip(together, labels, strict=True):
        assert np.allclose(row, scores(train, single[None], test)[0], atol=1e-9)


def test_units_and_features_without_spread_do_not_matter() -> None:
    train, test, labels = table(30, 5), table(9, 5, 2), signs(2, 30)
    still = np.full((len(train), 1), 7.0), np.full((len(test), 1), 7.0)
    other = scores(
        np.hstack([train * 1e3 + 5e4, still[0]]), labels, np.hstack([test * 1e3 + 5e4, still[1]])
    )
    assert np.allclose(scores(train, labels, test), other, atol=1e-6)


def test_without_learning_small_features_score_high_whatever_the_labels() -> None:
    train, test, labels = table(30, 5), table(9, 5, 2), signs(3, 30)
    found = scores(train, labels, test, scorer="mean")
    assert found.shape == (3, 9)
    assert (found == found[0]).all()
    centre, spread = train.mean(axis=0), train.std(axis=0)
    assert np.allclose(found[0], probability(-((test - centre) / spread).mean(axis=1)))


def test_values_of_scikit_learn() -> None:
    """Probabilities of LogisticRegression(solver="liblinear", tol=1e-10) after StandardScaler."""
    rows = np.arange(12.0)
    train = np.stack([np.sin(rows), np.cos(3 * rows), rows % 5], axis=1)
    labels = np.where(np.arange(12) % 3 == 0, 1.0, -1.0)[None]
    test = np.array([[0.5, -0.5, 1.0], [-1.0, 1.0, 4.0]])
    assert np.allclose(scores(train, labels, test)[0], [0.3370658091, 0.4726841173], atol=1e-5)
