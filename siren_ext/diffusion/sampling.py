"""Draw pictures from a pipeline: deterministic DDIM with classifier-free guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, MissingExtraError


@torch.no_grad()
def sample_latents(
    pipeline: Pipeline,
    noise: Tensor,
    prompt_embeds: Tensor,
    negative_embeds: Tensor,
    *,
    steps: int,
    guidance: float,
    unet: Any | None = None,
) -> Tensor:
    """Noise (B, C, h, w) -> scaled latents (float32) by DDIM with eta 0 (Song et al. 2021, Eq. 12).

    ``prompt_embeds`` and ``negative_embeds`` are (B or 1, tokens, width); guidance w gives
    uncond + w (cond - uncond) (Ho & Salimans 2022), and w = 1 costs one network call a step instead
    of two. The network computes in its own format, the state between steps is float32. ``unet``
    replaces the pipeline's own.
    """
    unet = pipeline.unet if unet is None else unet
    scheduler = ddim(pipeline)
    scheduler.set_timesteps(steps, device=noise.device)
    batch, dtype = len(noise), unet.dtype
    guided = guidance != 1
    context = prompt_embeds.expand(batch, -1, -1)
    if guided:
        context = torch.cat((negative_embeds.expand(batch, -1, -1), context))
    context = context.to(device=noise.device, dtype=dtype)
    latents = noise.float() * float(scheduler.init_noise_sigma)
    for time in scheduler.timesteps:
        view = torch.cat((latents, latents)) if guided else latents
        guess = unet(view.to(dtype), time, context, return_dict=False)[0].float()
        if guided:
            without, with_prompt = guess.chunk(2)
            guess = without + guidance * (with_prompt - without)
        latents = scheduler.step(guess, time, latents, return_dict=False)[0]
    return latents


def seeded_noise(pipeline: Pipeline, seeds: list[int], size: int) -> Tensor:
    """Start noise for pictures of ``size`` px, row i a function of ``seeds[i]`` alone."""
    factor = pipelines.latent_factor(pipeline)
    if size < factor or size % factor:
        raise ConfigError(
            f"PromptPlan.size is {size}; expected a multiple of {factor} for this model, or 0 for "
            "the model's own."
        )
    shape = (int(pipeline.unet.config.in_channels), size // factor, size // factor)
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(pipeline.unet.device)


def ddim(pipeline: Pipeline) -> Any:
    """A DDIM scheduler on the pipeline's noise schedule, whatever sampler it came with."""
    try:
        from diffusers import DDIMScheduler
    except ImportError as error:
        raise MissingExtraError(error.name or "diffusers") from error
    return DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
