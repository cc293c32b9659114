"""What a diffusion model adds to images by itself when it removes noise: the learnt field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siren_ext.data.images import crop_view, read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import Denoiser
from siren_ext.errors import ModelError
from siren_ext.preference.models import loss_of, noise_of

if TYPE_CHECKING:
    from siren_ext.data.dataset import Item
    from siren_ext.preference.config import PreferenceConfig

Floats = NDArray[np.float64]


def view(item: Item, size: int) -> Tensor:
    """One image as training programs see it, 1 x 3 x size x size in [0,1].

    Parameters
    ----------
    item : Item
        The image.
    size : int
        Side in pixels.
    """
    return crop_view(to_tensor(read_picture(item.path).rgb), size)


def text_of(item: Item) -> str:
    """What a model is asked with an image: its caption, or its class, or nothing."""
    return item.caption or item.class_words or ""


def fields_of_items(
    model: Denoiser,
    items: Sequence[Item],
    rows: list[int],
    size: int,
    config: PreferenceConfig,
) -> tuple[Floats, Floats]:
    """:func:`learnt_fields` of some images of a set.

    Parameters
    ----------
    model : Denoiser
        The model.
    items : sequence of Item
        The set.
    rows : list[int]
        Positions of the B images in it.
    size : int
        Side in pixels at which they are seen.
    config : PreferenceConfig
        Noise levels and seed.

    Returns
    -------
    fields : array, shape (B, d)
        Changes of the latents.
    losses : array, shape (B,)
        Mean losses.
    """
    images = torch.cat([view(items[row], size) for row in rows])
    texts = [text_of(items[row]) for row in rows]
    return learnt_fields(model, images, texts, rows, config)


@torch.no_grad()
def learnt_fields(
    model: Denoiser,
    images: Tensor,
    texts: list[str],
    rows: list[int],
    config: PreferenceConfig,
) -> tuple[Floats, Floats]:
    """What a model adds to images by itself, and its losses.

    Parameters
    ----------
    model : Denoiser
        The model.
    images : Tensor
        B x 3 x H x W in [0,1].
    texts : list[str]
        B captions.
    rows : list[int]
        Positions of the images in their set, from which their noise follows.
    config : PreferenceConfig
        Noise levels and seed.

    Returns
    -------
    fields : array, shape (B, d)
        Changes of the latents; means over the noise levels.
    losses : array, shape (B,)
        Mean losses.

    Raises
    ------
    ModelError
        If a loss is not finite.
    """
    latents = pipelines.encode_latents(model.pipeline, images)
    field, losses = _learnt(model, latents, texts, rows, config)
    return field.flatten(1).double().cpu().numpy(), losses.double().numpy()


def _learnt(
    model: Denoiser, latents: Tensor, texts: list[str], rows: list[int], config: PreferenceConfig
) -> tuple[Tensor, Tensor]:
    """What a model adds to B latents, and the B losses; means over the draws."""
    condition = model.condition(texts, latents.shape[-1] * pipelines.latent_factor(model.pipeline))
    added, losses = torch.zeros_like(latents), torch.zeros(len(latents))
    for draw in range(config.draws):
        times, noise = noise_of(latents, rows, draw, config)
        noisy = model.noisy(latents, noise, times)
        seen = model.noise_in(noisy, times, condition)
        added += model.clean(noisy, seen, times) - latents
        losses += loss_of(model, seen - noise, times).cpu()
    if not (torch.isfinite(losses).all() and torch.isfinite(added).all()):
        raise ModelError(
            "The model's loss is not finite; expected a number. The file is damaged, or 16-bit "
            "numbers are not precise enough for it: use 32-bit numbers."
        )
    return added / config.draws, losses / config.draws
