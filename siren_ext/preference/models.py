"""Models whose losses are compared: which there are, and the noise that all of them are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from siren_ext.diffusion.denoiser import STEPS, Denoiser, denoiser, each

if TYPE_CHECKING:
    from siren_ext.preference.config import PreferenceConfig
    from siren_ext.preference.twins_config import TwinsConfig
    from siren_ext.suspects.local import LocalSuspect


def frozen(suspect: LocalSuspect) -> Denoiser:
    """A model whose denoising can be measured.

    Parameters
    ----------
    suspect : LocalSuspect
        In float32: Stable Diffusion 1.x, 2.x or XL, or LCM; experimental for Stable Diffusion 3 and
        Flux.

    Returns
    -------
    Denoiser
        All its networks frozen and in eval mode.

    Raises
    ------
    ModelError
        The model is of another family or can't be loaded.
    ConfigError
        Its number format is another.
    """
    model = denoiser(suspect.pipeline)
    parts: dict[str, Any] = model.pipeline.components
    for part in parts.values():
        if isinstance(part, nn.Module):
            part.requires_grad_(False)
            part.eval()
    return model


def base_of(suspect: LocalSuspect) -> LocalSuspect:
    """The model in float32 without its adapters: the suspect itself if it has none.

    Parameters
    ----------
    suspect : LocalSuspect
        A model, with or without adapters.
    """
    if not suspect.adapters:
        return suspect
    return type(suspect)(suspect.model, device=str(suspect.device), dtype=torch.float32)


def noise_of(
    latents: Tensor, rows: list[int], draw: int, config: PreferenceConfig | TwinsConfig
) -> tuple[Tensor, Tensor]:
    """Timesteps and noise of one draw.

    Parameters
    ----------
    latents : Tensor
        B x C x h x w.
    rows : list[int]
        Positions of the B images in their set; timesteps and noise depend on these and not on the
        batch.
    draw : int
        Number of the draw.
    config : PreferenceConfig or TwinsConfig
        Gives the seed, and the range over which the draws are spread evenly.

    Returns
    -------
    tuple[Tensor, Tensor]
        B timesteps from 0 to 999, and noise of the shape of the latents.
    """
    times, noise = [], []
    for row in rows:
        rng = np.random.default_rng((config.seed, row, draw))
        share = (draw + rng.random()) / config.draws
        time = int(STEPS * (config.low + (config.high - config.low) * share))
        times.append(min(time, STEPS - 1))
        noise.append(rng.standard_normal(latents.shape[1:], dtype=np.float32))
    placed = torch.from_numpy(np.stack(noise)).to(latents.device)
    return torch.tensor(times, device=latents.device), placed


def loss_of(model: Denoiser, errors: Tensor, times: Tensor) -> Tensor:
    """The losses that a model was trained with.

    Parameters
    ----------
    model : Denoiser
        The model.
    errors : Tensor
        B x C x h x w: the noise that it sees, minus the noise that there is.
    times : Tensor
        B timesteps.

    Returns
    -------
    Tensor
        B losses.
    """
    losses: Tensor = errors.square().mean((1, 2, 3)) * each(model.weight, times).flatten()
    return losses
