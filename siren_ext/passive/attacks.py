"""Published membership attacks on single images, which are features here.

Functions take a :class:`~siren_ext.passive.batch.Batch` of B images and return B x columns.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from siren_ext.passive.batch import DRAWS, Batch, norm

_TIME = 100  # of the denoising loss and of SimA
_SECMI_END, _SECMI_STEP = 100, 10
_PIA_TIME, _PIA_POWER = 200, 5
_RECOVER_TIMES = (0, 100, 200, 300)
_RECOVER_DRAWS, _RECOVER_SIZE = 3, 0.1


def denoising_loss(batch: Batch) -> Tensor:
    """Mean norm of the error at timestep 100 over five noises.

    References
    ----------
    Carlini et al. (2023), "Extracting training data from diffusion models" (arXiv 2301.13188).
    CDI's text has the squared norm (variant ``paper``), its code the norm.
    """
    power = 2 if batch.config.variant == "paper" else 1
    noises = [batch.noise("denoising_loss", draw) for draw in range(DRAWS)]
    noisy = [batch.model.noisy(batch.latents, noise, _TIME) for noise in noises]
    seen = batch.noise_in_each(noisy, _TIME)
    norms = [norm(one - noise) ** power for one, noise in zip(seen, noises, strict=True)]
    return torch.stack(norms).mean(0)[:, None]


def secmi(batch: Batch) -> Tensor:
    """How far a step to timestep 110 and back leads from the deterministic path; 12 passes.

    References
    ----------
    Duan et al. (2023), "Are diffusion models vulnerable to membership inference attacks?" (arXiv
    2302.01316), Eq. 8, with the timesteps and the norm of CDI's code.
    """
    path = batch.step(batch.latents, 0, _SECMI_STEP, batch.first_noise)
    for time in range(_SECMI_STEP, _SECMI_END, _SECMI_STEP):
        path = batch.step(path, time, time + _SECMI_STEP)
    after = _SECMI_END + _SECMI_STEP
    back = batch.step(batch.step(path, _SECMI_END, after), after, _SECMI_END)
    return norm(path - back)[:, None]


def pia(batch: Batch) -> Tensor:
    """Change of the predicted noise when the prediction itself is the noise, 5-norm; 2 passes.

    References
    ----------
    Kong et al. (2024), "An efficient membership inference attack for the diffusion model by
    proximal initialization" (arXiv 2305.18355), Eq. 8; the norm is that of CDI's code.
    """
    return _proximal(batch, batch.first_noise)


def pian(batch: Batch) -> Tensor:
    """PIA with the first prediction scaled to the mean size of normal noise.

    References
    ----------
    Kong et al. (2024), Eq. 9. Normal noise has the mean size sqrt(2/pi), as in PIA's code; the
    formula in the paper and CDI's code have sqrt(pi/2), which is 57 % more.
    """
    return _proximal(batch, normalised(batch.first_noise, batch.config.variant == "default"))


def normalised(noise: Tensor, correct: bool) -> Tensor:
    """Noise with the mean size sqrt(2/pi), or sqrt(pi/2) if not ``correct``: B x C x h x w."""
    size = math.sqrt(2 / math.pi if correct else math.pi / 2)
    return noise * size / noise.abs().mean((1, 2, 3), keepdim=True)


def _proximal(batch: Batch, noise: Tensor) -> Tensor:
    noisy = batch.model.noisy(batch.latents, noise, _PIA_TIME)
    return norm(noise - batch.noise_in(noisy, _PIA_TIME), _PIA_POWER)[:, None]


def sima(batch: Batch) -> Tensor:
    """Norm of the noise that the model sees in the clean latents at timestep 100; 1 pass.

    References
    ----------
    Rao et al. (2025), "Score-based membership inference on diffusion models" (arXiv 2509.25003).
    """
    return norm(batch.noise_in(batch.latents, _TIME))[:, None]


def recover(batch: Batch) -> Tensor:
    """Distance of reconstructions from perturbed inversions, and how much it varies; 12 passes.

    The latents are inverted to timestep 300 in three deterministic steps; normal noise of a tenth
    is added three times, and each is denoised in three steps. Columns: the mean norm of the
    difference from the latents, and its spread over the three.
    """
    path = batch.latents
    stops = list(pairwise(_RECOVER_TIMES))
    for start, end in stops:
        path = batch.step(path, start, end)
    found = []
    for draw in range(_RECOVER_DRAWS):
        moved = path + _RECOVER_SIZE * batch.noise("recover", draw)
        for start, end in reversed(stops):
            moved = batch.step(moved, end, start)
        found.append(norm(moved - batch.latents))
    table = torch.stack(found, dim=1)
    return torch.stack([table.mean(1), table.std(1)], dim=1)
