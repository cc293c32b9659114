"""Encoding, decoding and the diffusion loss of a Stable Diffusion pipeline.

All other modules use these functions to turn pictures into latents, latents into pictures and
prompts into embeddings, so the scaling of latents and the range of pictures are defined in one
place. The diffusion loss serves training, learnability and personalisation. Loading is in
:mod:`siren_ext.diffusion.load`.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from siren_ext.diffusion.draws import Among, own_of, seeded_normal
from siren_ext.diffusion.load import (
    POCKET,
    Pipeline,
    load_pipeline,
    model_fingerprint,
    model_name,
    model_path,
    prediction_type,
    set_format,
)
from siren_ext.errors import ImageError, ModelError

__all__ = [
    "POCKET",
    "Among",
    "Pipeline",
    "add_noise",
    "clean_estimate",
    "decode_latents",
    "denoising_loss",
    "denoising_target",
    "embed_tokens",
    "encode_latents",
    "encode_prompts",
    "latent_factor",
    "load_pipeline",
    "loss_at",
    "model_fingerprint",
    "model_name",
    "model_path",
    "native_size",
    "prediction_type",
    "seeded_normal",
    "set_format",
    "signal_to_noise",
    "tokenize",
]


_SCHEDULES: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def native_size(pipeline: Pipeline) -> int:
    """Side in pixels of the pictures that the model was trained on."""
    return int(pipeline.unet.config.sample_size) * latent_factor(pipeline)


def latent_factor(pipeline: Pipeline) -> int:
    """Pixels per latent cell along a side (8 for Stable Diffusion)."""
    return int(pipeline.vae_scale_factor)


def encode_prompts(pipeline: Pipeline, prompts: list[str]) -> Tensor:
    """Embed prompts, padded or cut to the model's length.

    Parameters
    ----------
    pipeline : Pipeline
        Gives tokenizer and text encoder.
    prompts : list of str
        At least one; empty ones are allowed.

    Returns
    -------
    Tensor
        len(prompts) x tokens x width.

    Raises
    ------
    ModelError
        If there is no prompt.
    """
    if not prompts:
        raise ModelError("No prompt was given; expected at least one (it may be empty).")
    return embed_tokens(pipeline, tokenize(pipeline, prompts))


def tokenize(pipeline: Pipeline, prompts: list[str]) -> Tensor:
    """Token numbers of prompts, padded or cut to the model's length: len(prompts) x tokens."""
    tokenizer = pipeline.tokenizer
    ids: Tensor = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return ids


def embed_tokens(pipeline: Pipeline, ids: Tensor) -> Tensor:
    """Last hidden state of the text encoder; differentiable in its weights.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the text encoder.
    ids : Tensor
        B x tokens token numbers.

    Returns
    -------
    Tensor
        B x tokens x width.
    """
    hidden: Tensor = pipeline.text_encoder(ids.to(pipeline.text_encoder.device))[0]
    return hidden


def encode_latents(
    pipeline: Pipeline,
    images: Tensor,
    generator: torch.Generator | None = None,
    among: Among | None = None,
) -> Tensor:
    """Encode pictures; differentiable in the pictures.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    images : Tensor
        B x 3 x H x W in [0,1]; H and W are multiples of :func:`latent_factor`.
    generator : torch.Generator or None
        Samples the posterior of a variational autoencoder; None takes its mode.
    among : tuple of int and slice, or None
        As in :func:`seeded_normal`.

    Returns
    -------
    Tensor
        B x C x h x w scaled latents, float32.

    Raises
    ------
    ImageError
        If the shape does not fit.
    """
    factor = latent_factor(pipeline)
    if images.ndim != 4 or images.shape[1] != 3 or any(s % factor for s in images.shape[2:]):
        raise ImageError(
            f"Pictures of shape {tuple(images.shape)} can't be encoded; expected (batch, 3, "
            f"height, width) with sides that are multiples of {factor}. Resize them first."
        )
    vae = pipeline.vae
    coded = vae.encode((images * 2 - 1).to(device=vae.device, dtype=vae.dtype))
    if hasattr(coded, "latents"):
        latents = coded.latents.float()
    else:
        mean, deviation = coded.latent_dist.mean.float(), coded.latent_dist.std.float()
        latents = mean
        if generator is not None:
            latents = mean + deviation * seeded_normal(mean.shape, generator, mean.device, among)
    scaled: Tensor = (latents - _shift(vae)) * float(vae.config.scaling_factor)
    return scaled


def decode_latents(pipeline: Pipeline, latents: Tensor, *, clamp: bool = True) -> Tensor:
    """Decode latents; differentiable in the latents.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the autoencoder.
    latents : Tensor
        B x C x h x w scaled latents.
    clamp : bool
        Clamp to [0,1]; False keeps all gradients.

    Returns
    -------
    Tensor
        B x 3 x H x W, float32.
    """
    vae = pipeline.vae
    raw = latents.float() / float(vae.config.scaling_factor) + _shift(vae)
    images: Tensor = vae.decode(raw.to(device=vae.device, dtype=vae.dtype)).sample.float() / 2 + 0.5
    return images.clamp(0, 1) if clamp else images


def add_noise(pipeline: Pipeline, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Noisy latents sqrt(a) z + sqrt(1 - a) noise, with a the schedule's cumulative product.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the noise schedule.
    latents, noise : Tensor
        B x C x h x w; z and standard normal noise.
    timesteps : Tensor
        B whole numbers.

    Returns
    -------
    Tensor
        B x C x h x w.

    References
    ----------
    Ho et al. (2020), "Denoising diffusion probabilistic models" (arXiv 2006.11239), Eq. 4.
    """
    noisy: Tensor = _schedule(pipeline).add_noise(latents, noise, timesteps)
    return noisy


def denoising_target(
    pipeline: Pipeline, latents: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """What the model should predict: the noise, or v = sqrt(a) noise - sqrt(1 - a) z.

    Parameters
    ----------
    pipeline, latents, noise, timesteps
        As in :func:`add_noise`.

    Returns
    -------
    Tensor
        B x C x h x w.

    Raises
    ------
    ModelError
        If the model predicts neither noise nor v.

    References
    ----------
    Salimans and Ho (2022), "Progressive distillation for fast sampling of diffusion models" (arXiv
    2202.00512), section 4 (v-prediction).
    """
    kind = prediction_type(pipeline)
    if kind == "epsilon":
        return noise
    velocity: Tensor = _schedule(pipeline).get_velocity(latents, noise, timesteps)
    return velocity


def clean_estimate(pipeline: Pipeline, noisy: Tensor, guess: Tensor, timesteps: Tensor) -> Tensor:
    """The clean latents that a prediction implies: the inverse of :func:`denoising_target`.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the noise schedule.
    noisy, guess : Tensor
        B x C x h x w; the noisy latents and the model's prediction.
    timesteps : Tensor
        B whole numbers.

    Returns
    -------
    Tensor
        B x C x h x w. With noise prediction it is divided by sqrt(a), which is small at high noise.

    Raises
    ------
    ModelError
        If the model predicts neither noise nor v.
    """
    signal, rest = _levels(pipeline, timesteps, noisy)
    if prediction_type(pipeline) == "epsilon":
        return (noisy - rest * guess) / signal
    return signal * noisy - rest * guess


def denoising_loss(
    pipeline: Pipeline,
    latents: Tensor,
    prompt_embeds: Tensor,
    *,
    generator: torch.Generator,
    timesteps: Tensor | None = None,
    among: Among | None = None,
) -> Tensor:
    """Mean squared error of the denoiser; differentiable in the latents and the UNet's weights.

    Parameters
    ----------
    pipeline : Pipeline
        Gives the noise schedule and the network.
    latents : Tensor
        B x C x h x w scaled latents.
    prompt_embeds : Tensor
        B x tokens x width, or 1 x tokens x width for all.
    generator : torch.Generator
        Draws the noise and the timesteps.
    timesteps : Tensor or None
        B whole numbers; None draws them uniformly.
    among : tuple of int and slice, or None
        As in :func:`seeded_normal`.

    Returns
    -------
    Tensor
        B losses, each the mean over all elements of the latents.

    Raises
    ------
    ModelError
        If the model predicts neither noise nor v.

    References
    ----------
    SIREN (arXiv 2410.10437), Eq. 2.
    """
    if timesteps is None:
        steps, (count, own) = len(pipeline.scheduler.alphas_cumprod), own_of(len(latents), among)
        place = generator.device
        timesteps = torch.randint(0, steps, (count,), generator=generator, device=place)[own]
    noise = seeded_normal(latents.shape, generator, latents.device, among)
    return loss_at(pipeline, latents, prompt_embeds, noise=noise, timesteps=timesteps)


def loss_at(
    pipeline: Pipeline, latents: Tensor, prompt_embeds: Tensor, *, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """:func:`denoising_loss` for given noise.

    Parameters
    ----------
    pipeline, latents, prompt_embeds
        As in :func:`denoising_loss`.
    noise : Tensor
        B x C x h x w.
    timesteps : Tensor
        B whole numbers.

    Returns
    -------
    Tensor
        B losses.
    """
    timesteps, clean = timesteps.to(latents.device), latents.float()
    noisy = add_noise(pipeline, clean, noise, timesteps)
    dtype = pipeline.unet.dtype
    embeds = prompt_embeds.to(device=clean.device, dtype=dtype).expand(len(clean), -1, -1)
    guess = pipeline.unet(noisy.to(dtype), timesteps, embeds, return_dict=False)[0]
    target = denoising_target(pipeline, clean, noise, timesteps)
    loss: Tensor = (guess.float() - target).square().mean((1, 2, 3))
    return loss


def signal_to_noise(pipeline: Pipeline, timesteps: Tensor) -> Tensor:
    """Signal-to-noise ratio a / (1 - a) of B timesteps: B values."""
    from diffusers.training_utils import compute_snr

    ratio: Tensor = compute_snr(_schedule(pipeline), timesteps)
    return ratio


def _schedule(pipeline: Pipeline) -> Any:
    """A DDPM scheduler of diffusers with the pipeline's noise schedule.

    The pipeline's own scheduler may scale noise differently or not support velocities.
    """
    found = _SCHEDULES.get(pipeline.scheduler)
    if found is None:
        from diffusers import DDPMScheduler

        found = DDPMScheduler.from_config(pipeline.scheduler.config)
        _SCHEDULES[pipeline.scheduler] = found
    return found


def _levels(pipeline: Pipeline, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(a) and sqrt(1 - a), each B x 1 x 1 x 1."""
    kept = pipeline.scheduler.alphas_cumprod.to(like.device)[timesteps.to(like.device)].float()
    kept = kept.view(-1, 1, 1, 1)
    return kept.sqrt(), (1 - kept).sqrt()


def _shift(vae: Any) -> float:
    """What the autoencoder's settings subtract from latents before scaling."""
    return float(getattr(vae.config, "shift_factor", None) or 0.0)
