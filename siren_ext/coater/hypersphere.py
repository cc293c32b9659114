"""Distances in feature space: the hypersphere of the coated images and the centres of messages."""

from __future__ import annotations

from torch import Tensor

AMPLITUDE = 4.0
"""Each coordinate of a message's centre: the centres lie at radius 4 sqrt(k)."""


def hsc_distance(features: Tensor, center: Tensor) -> Tensor:
    """Pseudo-Huber distance h = sqrt(|f - c|^2 + 1) - 1 of B x k features: B, 0 at the centre."""
    return ((features - center).square().sum(1) + 1).sqrt() - 1


def message_centre(message: Tensor) -> Tensor:
    """Centre of the hypersphere of a message of -1 and +1: r m / sqrt(k) with r = 4 sqrt(k)."""
    return AMPLITUDE * message
