"""Distances in feature space: to the centre of the coated images, or of a message."""

from __future__ import annotations

from torch import Tensor

AMPLITUDE = 4.0
"""Size of each coordinate of a message's centre; the centres lie at radius 4 sqrt(k)."""


def hsc_distance(features: Tensor, center: Tensor) -> Tensor:
    """Pseudo-Huber distance h = sqrt(|f - c|^2 + 1) - 1 of features to a centre.

    Parameters
    ----------
    features : Tensor
        B x k.
    center : Tensor
        1 x k, or B x k for a centre per image.

    Returns
    -------
    Tensor
        B values from 0, at the centre, upwards.

    References
    ----------
    The coating score of SIREN's published code; the paper (arXiv 2410.10437) takes |f - c|, which
    orders images in the same way.
    """
    return ((features - center).square().sum(1) + 1).sqrt() - 1


def message_centre(message: Tensor) -> Tensor:
    """Centre of the hypersphere of a message.

    Parameters
    ----------
    message : Tensor
        ... x k of -1 and +1.

    Returns
    -------
    Tensor
        4 m, in the shape of ``message``.
    """
    return AMPLITUDE * message
