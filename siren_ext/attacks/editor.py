"""Pictures drawn again by an image editor, such as FLUX.1 Kontext or Qwen-Image-Edit."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from siren_ext.attacks.checks import image_batch, texts, within
from siren_ext.data.images import resize
from siren_ext.diffusion.editors import edited, load_editor
from siren_ext.errors import ConfigError

_BLOCK = 16  # sides that the transformers of these editors take


def edit(
    images: Tensor,
    generator: torch.Generator,
    *,
    model: str = "",
    prompt: str = "Draw this picture again, exactly as it is.",
    steps: int = 28,
    guidance: float = 2.5,
) -> Tensor:
    """Ask an image editor to draw each image again.

    Parameters
    ----------
    images : Tensor
        B x 3 x H x W in [0,1].
    generator : torch.Generator
        Draws a seed for each image.
    model : str
        Folder of a diffusers pipeline that takes an image and a text; none is bundled, and nothing
        is downloaded.
    prompt : str
        What it is told.
    steps : int
        Denoising steps, from 1 to 1000.
    guidance : float
        Guidance scale, from 0 to 30. Both are FLUX.1 Kontext's usual ones.

    Returns
    -------
    Tensor
        B x 3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If no model is given, a setting is out of range, or the editor refuses it.
    ImageError
        If ``images`` is not a batch of images.
    ModelError
        If the model can't be loaded or is no editor.
    MissingExtraError
        If diffusers is not installed.

    References
    ----------
    Black Forest Labs (2025), "FLUX.1 Kontext" (arXiv 2506.15742), a diffusion transformer that
    takes an image and a text.
    """
    within("steps", steps, 1, 1000, whole=True)
    within("guidance", guidance, 0, 30)
    texts(model=model, prompt=prompt)
    if not model:
        raise ConfigError(
            "edit needs an image editor, and none comes with the program: give the folder of a "
            "diffusers pipeline that takes an image and a text, such as FLUX.1 Kontext, with "
            "--set model=FOLDER."
        )
    height, width = image_batch(images).shape[2:]
    sides = [max(_BLOCK, round(side / _BLOCK) * _BLOCK) for side in (height, width)]
    pipeline, rows = _editor(model, images.device), []
    for image in images:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        view = resize(image[None].float(), *sides)[0]
        made = edited(pipeline, view, prompt, steps=steps, guidance=guidance, seed=seed)
        rows.append(resize(made[None], height, width))
    return torch.cat(rows).clamp(0, 1).to(images)


@lru_cache(maxsize=1)
def _editor(model: str, device: torch.device) -> Any:
    """An editor; the last one stays loaded for the images that follow."""
    return load_editor(model, device=device)
