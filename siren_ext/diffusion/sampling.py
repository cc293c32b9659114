"""Sample from a pipeline with classifier-free guidance: by DDIM, or another sampler by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ConfigError, MissingExtraError

_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}
SAMPLERS = tuple(_CLASSES)
"""Names of samplers: those of the paper's Table XI, and that of models which need few steps."""
NOISY = ("ddpm", "lcm")
"""Samplers that add noise in their steps."""
_FRESH = 2**40  # seeds of that noise, away from those of the first noise


@torch.no_grad()
def sample_latents(
    pipeline: Pipeline,
    noise: Tensor,
    prompt_embeds: Tensor,
    negative_embeds: Tensor,
    *,
    steps: int,
    guidance: float,
    sampler: str = "",
    seeds: Sequence[int] = (),
) -> Tensor:
    """Turn noise into latents, by DDIM with eta 0 if nothing else is named.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the noise schedule and the network.
    noise : Tensor
        B x C x h x w, standard normal.
    prompt_embeds, negative_embeds : Tensor
        B x tokens x width, or 1 x tokens x width for all.
    steps : int
        Number of steps.
    guidance : float
        w in uncond + w (cond - uncond). With w = 1 a step costs one network call instead of two.
    sampler : str
        One of :data:`SAMPLERS`, by default the first; all but :data:`NOISY` are deterministic.
    seeds : sequence of int
        Of the B pictures, from which the noise that is added in steps is drawn.

    Returns
    -------
    Tensor
        B x C x h x w scaled latents, float32. The network computes in its own number format; the
        state between steps is float32.

    References
    ----------
    Song, Meng and Ermon (2021), "Denoising diffusion implicit models" (arXiv 2010.02502), Eq. 12;
    Ho and Salimans (2022), "Classifier-free diffusion guidance" (arXiv 2207.12598), Eq. 6, whose w
    is one less.
    """
    scheduler = _with_steps(pipeline, sampler, steps, noise.device)
    latents = noise.float() * float(scheduler.init_noise_sigma)
    embeds, times = (prompt_embeds, negative_embeds), scheduler.timesteps
    return _denoised(pipeline, scheduler, times, latents, embeds, guidance, _drawn(seeds))


@torch.no_grad()
def redraw_latents(
    pipeline: Pipeline,
    latents: Tensor,
    noise: Tensor,
    prompt_embeds: Tensor,
    negative_embeds: Tensor,
    *,
    strength: float,
    steps: int,
    guidance: float,
    sampler: str = "",
    seeds: Sequence[int] = (),
) -> Tensor:
    """Add noise to latents and remove it again: image to image.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the noise schedule and the network.
    latents, noise : Tensor
        B x C x h x w; scaled latents and standard normal noise.
    prompt_embeds, negative_embeds : Tensor
        As in :func:`sample_latents`.
    strength : float
        Share of the schedule that is used, above 0 and at most 1, where hardly anything is kept.
    steps : int
        Steps of the whole schedule, of which this share is made; at least one.
    guidance, sampler, seeds : float, str, sequence of int
        As in :func:`sample_latents`.

    Returns
    -------
    Tensor
        B x C x h x w scaled latents, float32.

    References
    ----------
    Meng et al. (2022), "SDEdit: Guided image synthesis and editing with stochastic differential
    equations", ICLR.
    """
    scheduler = _with_steps(pipeline, sampler, steps, latents.device)
    count = min(steps, max(1, round(strength * steps)))
    times = scheduler.timesteps[steps - count :]
    # by the scheduler itself: Euler's latents are larger than those of the others
    noisy = scheduler.add_noise(latents.float(), noise, times[:1].expand(len(latents)))
    embeds = (prompt_embeds, negative_embeds)
    return _denoised(pipeline, scheduler, times, noisy, embeds, guidance, _drawn(seeds))


def _with_steps(pipeline: Pipeline, sampler: str, steps: int, device: torch.device) -> Any:
    """A scheduler that is ready for so many steps."""
    scheduler = scheduler_named(pipeline, sampler)
    # the grid of the few steps, which has 50 of its own
    grid = getattr(scheduler.config, "original_inference_steps", None)
    more = {"original_inference_steps": steps} if grid is not None and steps > grid else {}
    scheduler.set_timesteps(steps, device=device, **more)
    return scheduler


def _drawn(seeds: Sequence[int]) -> list[torch.Generator] | None:
    """Generators of the noise that a sampler adds in its steps, one for each picture."""
    return [torch.Generator().manual_seed(seed + _FRESH) for seed in seeds] or None


def _denoised(
    pipeline: Pipeline,
    scheduler: Any,
    times: Tensor,
    latents: Tensor,
    embeds: tuple[Tensor, Tensor],
    guidance: float,
    drawn: list[torch.Generator] | None = None,
) -> Tensor:
    """Latents after the given steps; embeds of prompt and negative prompt."""
    unet = pipeline.unet
    batch, dtype = len(latents), unet.dtype
    guided = guidance != 1
    context = embeds[0].expand(batch, -1, -1)
    if guided:
        context = torch.cat((embeds[1].expand(batch, -1, -1), context))
    context = context.to(device=latents.device, dtype=dtype)
    for time in times:
        view = scheduler.scale_model_input(latents, time)
        view = torch.cat((view, view)) if guided else view
        guess = unet(view.to(dtype), time, context, return_dict=False)[0].float()
        if guided:
            without, with_prompt = guess.chunk(2)
            guess = without + guidance * (with_prompt - without)
        latents = scheduler.step(guess, time, latents, generator=drawn, return_dict=False)[0]
    return latents


def seeded_noise(pipeline: Pipeline, seeds: list[int], size: int) -> Tensor:
    """Initial noise for pictures, each of which depends on its own seed only.

    Parameters
    ----------
    pipeline : Pipeline
        The model that will use it.
    seeds : list of int
        One per picture.
    size : int
        Side of the pictures in pixels.

    Returns
    -------
    Tensor
        len(seeds) x C x h x w, float32, on the model's device.

    Raises
    ------
    ConfigError
        If the model cannot make pictures of that size.
    """
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
    """A DDIM scheduler with the pipeline's noise schedule; see :func:`scheduler_named`."""
    return scheduler_named(pipeline, "ddim")


def scheduler_named(pipeline: Pipeline, sampler: str) -> Any:
    """A scheduler of diffusers with the pipeline's noise schedule.

    Parameters
    ----------
    pipeline : Pipeline
        The model.
    sampler : str
        One of :data:`SAMPLERS`; empty takes the first.

    Raises
    ------
    ConfigError
        If there is no such sampler.
    MissingExtraError
        If diffusers is not installed.
    """
    sampler = sampler or SAMPLERS[0]
    if sampler not in _CLASSES:
        raise ConfigError(f"The sampler is {sampler!r}; expected {', '.join(SAMPLERS)}.")
    name, settings = _CLASSES[sampler]
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtraError(error.name or "diffusers") from error
    return getattr(diffusers, name).from_config(pipeline.scheduler.config, **settings)
