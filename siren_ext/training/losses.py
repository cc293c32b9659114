"""The terms of the coater's objective (SIREN, Eq. 2 to 7, and the published code's forms)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coater.hypersphere import AMPLITUDE, message_centre
from siren_ext.metrics.colour import ciede2000, ciede2000_squared, srgb_to_lab

NEGATIVE_TEMPERATURE = 0.3
SECRET_WEIGHT = 10.0
"""Weight of detection in the published objective."""


def message_loss(features: Tensor, message: Tensor) -> Tensor:
    """Squared distance of features to their messages' centres, over r^2, for each image.

    A row of zeros instead of a message asks for no evidence of any bit: the target of clean images,
    as far from all centres as possible at once. The best answer to a doubtful image is then the
    expected message, so that evidence adds up over images with the right weights.

    Parameters
    ----------
    features : Tensor
        B x k.
    message : Tensor
        B x k of -1 and +1, or of 0.

    Returns
    -------
    Tensor
        B losses: 0 at the centre, 1 at the origin.
    """
    return ((features - message_centre(message)) / AMPLITUDE).square().mean(1)


def hsc_positive(distance: Tensor) -> Tensor:
    """Loss of coated images at pseudo-Huber distances h >= 0: the distance itself (B)."""
    return distance


def hsc_negative(distance: Tensor) -> Tensor:
    """Loss of clean images at pseudo-Huber distances h >= 0: -log(1 - exp(-0.3 h) + 1e-9) (B).

    20.7 at the centre, 0.051 at h = 10. The factor 0.3 is that of the published code.
    """
    return -torch.log(1 - torch.exp(-NEGATIVE_TEMPERATURE * distance) + 1e-9)


def svdd_positive(distance: Tensor, radius: float, nu: float = 0.1) -> Tensor:
    """Soft-boundary loss of coated images (SIREN, Eq. 5): R^2 + max(0, d^2 - R^2) / nu.

    Parameters
    ----------
    distance : Tensor
        Euclidean distances to the centre (B).
    radius : float
        R; see :func:`svdd_radius`.
    nu : float
        Share of coated images allowed outside, 0 to 1.
    """
    return radius**2 + (distance**2 - radius**2).clamp_min(0) / nu


def svdd_negative(distance: Tensor, radius: float, nu: float = 0.1) -> Tensor:
    """Soft-boundary loss of clean images (SIREN, Eq. 6): max(0, R^2 - d^2) / nu of B distances."""
    return (radius**2 - distance**2).clamp_min(0) / nu


def svdd_radius(positive: Tensor, nu: float = 0.1) -> float:
    """The best radius for fixed networks: the (1 - nu) quantile of coated images' distances."""
    return float(torch.quantile(positive.detach().float(), 1 - nu))


def binary_positive(distance: Tensor) -> Tensor:
    """Cross-entropy of coated images (hyperplane ablation); the distance is the negated logit."""
    return F.softplus(distance)


def binary_negative(distance: Tensor) -> Tensor:
    """Cross-entropy of clean images (hyperplane ablation); the distance is the negated logit."""
    return F.softplus(-distance)


def colour_loss(clean: Tensor, coated: Tensor, *, official_scale: bool = False) -> Tensor:
    """Mean squared CIEDE2000 per image, floor 1e-4, then mean over the batch (SIREN, Eq. 3 and 4).

    Parameters
    ----------
    clean, coated : Tensor
        B x 3 x H x W in [0,1]; coated pixels may leave that range.
    official_scale : bool
        The published code's Lab scale (62 times smaller loss) and floors.

    Returns
    -------
    Tensor
        One number, in squared CIEDE2000 units.
    """
    first = srgb_to_lab(clean, official_scale=official_scale)
    second = srgb_to_lab(coated, official_scale=official_scale)
    squared = ciede2000_squared(first, second, official=official_scale)
    return squared.mean((1, 2, 3)).clamp_min(1e-4).mean()


def tint_loss(clean: Tensor, coated: Tensor, *, limit: float, blur: int = 9) -> Tensor:
    """How far blurred colour differences exceed a limit: mean of the squared excess.

    A mean over pixels hides tinted patches, which the eye finds at once; this term sees what is
    left after blurring.

    Parameters
    ----------
    clean, coated : Tensor
        B x 3 x H x W in [0,1].
    limit : float
        CIEDE2000 units that cost nothing.
    blur : int
        Side of the averaging window in pixels.

    Returns
    -------
    Tensor
        One number, in squared CIEDE2000 units.
    """
    kernel = dict(kernel_size=blur, stride=2, padding=blur // 2, count_include_pad=False)
    first = srgb_to_lab(F.avg_pool2d(clean, **kernel))  # type: ignore[arg-type]
    second = srgb_to_lab(F.avg_pool2d(coated, **kernel))  # type: ignore[arg-type]
    return (ciede2000(first, second) - limit).clamp_min(0).square().mean()


def image_weight(images_seen: int, ramp_start: int | None, length: int = 10_000) -> float:
    """Weight of the image terms: 1 before the ramp, 100 after ``length`` further images."""
    if ramp_start is None:
        return 1.0
    return 1 + min(99.0, max(0.0, 99 * (images_seen - ramp_start) / length))


def published_weights(image_weight: float) -> tuple[float, float]:
    """Weights of image and detection terms in L_learn + (w L_image + 10 L_hsc) / (w + 10)."""
    total = image_weight + SECRET_WEIGHT
    return image_weight / total, SECRET_WEIGHT / total


def separation(coated: Tensor, clean: Tensor) -> float:
    """Share of (coated, clean) pairs in which the coated score is smaller: area under the curve."""
    return float((coated[:, None] < clean[None]).float().mean())
