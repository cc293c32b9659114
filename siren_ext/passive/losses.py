"""Denoising losses over ten timesteps, with and without the caption.

Functions take a :class:`~siren_ext.passive.batch.Batch` of B images and return B x columns. On an
adapter they say most as a difference: how much better than the base does the suspect denoise?
"""

from __future__ import annotations

import torch
from torch import Tensor

from siren_ext.passive.batch import Batch
from siren_ext.passive.config import TIMES


def multiple_loss(batch: Batch) -> Tensor:
    """Norm of the error at each of ten timesteps, B x 10; the noise is shared by the timesteps.

    The mean over five noises; over one in CDI's code (variant ``official``), which ignores its own
    setting of five.
    """
    return batch.errors.mean(0).T


def mean_loss(batch: Batch) -> Tensor:
    """The loss in the form that the model was trained with, mean over ten timesteps: B x 1."""
    return _training_loss(batch, batch.errors)[:, None]


def caption(batch: Batch) -> Tensor:
    """The ten losses without the caption, and how much the caption lowers the loss: B x 11.

    A model fits its training images better together with their captions than alone.

    References
    ----------
    Zhai et al. (2024), "Membership inference on text-to-image diffusion models via conditional
    likelihood discrepancy" (arXiv 2405.14800).
    """
    without = batch.uncaptioned_errors
    gain = _training_loss(batch, without) - _training_loss(batch, batch.errors)
    return torch.cat([without.mean(0).T, gain[:, None]], dim=1)


def _training_loss(batch: Batch, errors: Tensor) -> Tensor:
    """The mean squared error of the network's own output, B."""
    weights = torch.tensor([batch.model.weight(time) for time in TIMES], device=errors.device)
    elements = batch.latents[0].numel()
    return (errors.square() * weights[None, :, None]).mean((0, 1)) / elements
