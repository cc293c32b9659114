"""The terms of the coater's objective (SIREN, Eq. 2 to 7, and the published code's forms)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coater.hypersphere import AMPLITUDE, message_centre
from siren_ext.metrics.colour import ciede2000, ciede2000_squared, srgb_to_lab

NEGATIVE_TEMPERATURE = 0.3


def message_loss(features: Tensor, message: Tensor) -> Tensor:
    """Squared distance of B x k features to their messages' centres, over r^2: 1 at the origin.

    A row of zeros instead of a message asks for no evidence of any bit: the target of clean images,
    as far from all centres as possible at once. The best answer to a doubtful image is then the
    expected message, so that evidence adds up over images with the right weights.
    """
    return ((features - message_centre(message)) / AMPLITUDE).square().mean()


def hsc_positive(distance: Tensor) -> Tensor:
    """Loss of coated images: the distance itself."""
    return distance


def hsc_negative(distance: Tensor) -> Tensor:
    """Loss of clean images: -log(1 - exp(-0.3 h) + 1e-9); 20.7 at the centre, 0.051 at h = 10."""
    return -torch.log(1 - torch.exp(-NEGATIVE_TEMPERATURE * distance) + 1e-9)


def svdd_loss(positive: Tensor, negative: Tensor, radius: float, nu: float = 0.1) -> Tensor:
    """Soft-boundary hypersphere loss of Euclidean distances (SIREN, Eq. 5 and 6).

    Parameters
    ----------
    positive, negative : Tensor
        distances of coated and of clean images.
    radius : float
        R; see :func:`svdd_radius`.
    nu : float
        share of positives allowed outside.
    """
    inside = (positive**2 - radius**2).clamp_min(0).mean() / nu
    outside = (radius**2 - negative**2).clamp_min(0).mean() / nu
    return radius**2 + inside + outside


def svdd_radius(positive: Tensor, nu: float = 0.1) -> float:
    """The optimal radius for fixed networks: the (1 - nu) quantile of positive distances."""
    return float(torch.quantile(positive.detach().float(), 1 - nu))


def binary_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Mean of the two cross-entropies of logits (1 = coated), the hyperplane ablation."""
    one = F.binary_cross_entropy_with_logits(positive, torch.ones_like(positive))
    zero = F.binary_cross_entropy_with_logits(negative, torch.zeros_like(negative))
    return (one + zero) / 2


def colour_loss(clean: Tensor, coated: Tensor, *, official_scale: bool = False) -> Tensor:
    """Mean squared CIEDE2000 per image, floor 1e-4, then mean over the batch (SIREN, Eq. 4)."""
    first = srgb_to_lab(clean, official_scale=official_scale)
    second = srgb_to_lab(coated, official_scale=official_scale)
    return ciede2000_squared(first, second).mean((1, 2, 3)).clamp_min(1e-4).mean()


def tint_loss(clean: Tensor, coated: Tensor, *, limit: float, blur: int = 9) -> Tensor:
    """How far blurred colour differences exceed ``limit``: mean of the squared excess.

    A pixel-wise mean hides tinted patches, which the eye finds at once; this term sees what is left
    after averaging over ``blur`` pixels, in CIEDE2000 units.
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


def combine(learn: Tensor, image: Tensor, secret: Tensor, weight: float) -> Tensor:
    """The published objective: L_learn + (w * L_image + 10 * L_hsc) / (w + 10)."""
    return learn + (weight * image + 10 * secret) / (weight + 10)


def separation(coated: Tensor, clean: Tensor) -> float:
    """Share of (coated, clean) pairs in which the coated score is smaller: area under the curve."""
    return float((coated[:, None] < clean[None]).float().mean())
