"""The three maps of a Stable-Diffusion-shaped pipeline, and its diffusion loss.

Pictures to latents, latents to pictures, prompts to embeddings: every other module goes through
the functions below, so that the scaling of latents and the range of pictures are decided once.
The diffusion loss of training, learnability and personalisation lives here too; loading is in
:mod:`siren_ext.diffusion.load`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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


def native_size(pipeline: Pipeline) -> int:
    """Side in pixels of the pictures that the model was trained on."""
    return int(pipeline.unet.config.sample_size) * latent_factor(pipeline)


def latent_factor(pipeline: Pipeline) -> int:
    """Pixels per latent cell along a side (8 for Stable Diffusion)."""
    return int(pipeline.vae_scale_factor)


def encode_prompts(pipeline: Pipeline, prompts: list[str]) -> Tensor:
    """Prompts -> (len(prompts), tokens, width) embeddings, padded and cut to the model's length."""
    if not prompts:
        raise ModelError("No prompt was given; expected at least one (the empty text is allowed).")
    return embed_tokens(pipeline, tokenize(pipeline, prompts))


def tokenize(pipeline: Pipeline, prompts: list[str]) -> Tensor:
    """Prompts -> (len(prompts), tokens) token numbers."""
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
    """Token numbers -> last hidden state of the text encoder; differentiable in its weights."""
    hidden: Tensor = pipeline.text_encoder(ids.to(pipeline.text_encoder.device))[0]
    return hidden


def encode_latents(
    pipeline: Pipeline, images: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """Pictures BCHW in [0,1] -> scaled latents (float32), differentiable in the pictures.

    With a variational autoencoder the posterior is sampled when a ``generator`` is given, else its
    mode is taken. Raises :class:`ImageError` when a side is no multiple of the latent factor.
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
            latents = mean + deviation * seeded_normal(mean.shape, generator, mean.device)
    scaled: Tensor = (latents - _shift(vae)) * float(vae.config.scaling_factor)
    return scaled


def decode_latents(pipeline: Pipeline, latents: Tensor, *, clamp: bool = True) -> Tensor:
    """Scaled latents -> pictures BCHW (float32) in [0,1]; ``clamp=False`` keeps all gradients."""
    vae = pipeline.vae
    raw = latents.float() / float(vae.config.scaling_factor) + _shift(vae)
    images: Tensor = vae.decode(raw.to(device=vae.device, dtype=vae.dtype)).sample.float() / 2 + 0.5
    return images.clamp(0, 1) if clamp else images


def add_noise(pipeline: Pipeline, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """sqrt(a) z + sqrt(1-a) noise at ``timesteps``, shape (B,); Ho et al. 2020, Eq. 4."""
    signal, rest = _levels(pipeline, timesteps, latents)
    return signal * latents + rest * noise


def denoising_target(
    pipeline: Pipeline, latents: Tensor, noise: Tensor, timesteps: Tensor
) -> Tensor:
    """What the model has to predict: the noise, or v = sqrt(a) noise - sqrt(1-a) z.

    v-prediction is Salimans & Ho 2022, §4. Raises :class:`ModelError` for other parametrisations.
    """
    kind = prediction_type(pipeline)
    if kind == "epsilon":
        return noise
    signal, rest = _levels(pipeline, timesteps, latents)
    return signal * noise - rest * latents


def clean_estimate(pipeline: Pipeline, noisy: Tensor, guess: Tensor, timesteps: Tensor) -> Tensor:
    """The clean latents that a model's prediction stands for: ``denoising_target`` undone.

    ``noisy`` and ``guess`` are (B, C, h, w), ``timesteps`` (B). Noise prediction divides by
    sqrt(a), which is small at the noisy end.
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
    unet: Callable[..., Any] | None = None,
) -> Tensor:
    """Mean squared error of the denoiser per sample, shape (B,); methods §3, SIREN Eq. 2.

    ``latents`` (B, C, h, w) scaled; ``prompt_embeds`` (B or 1, tokens, width); ``timesteps`` (B)
    are drawn uniformly when None; ``unet`` replaces the pipeline's own (for adapters). Noise and
    timesteps come from ``generator`` alone. Differentiable in the latents and the UNet's weights.
    """
    batch, device = len(latents), latents.device
    if timesteps is None:
        steps = len(pipeline.scheduler.alphas_cumprod)
        timesteps = torch.randint(0, steps, (batch,), generator=generator, device=generator.device)
    timesteps = timesteps.to(device)
    noise = seeded_normal(latents.shape, generator, device)
    clean = latents.float()
    noisy = add_noise(pipeline, clean, noise, timesteps)
    dtype = pipeline.unet.dtype
    embeds = prompt_embeds.to(device=device, dtype=dtype).expand(batch, -1, -1)
    guess = (unet or pipeline.unet)(noisy.to(dtype), timesteps, embeds, return_dict=False)[0]
    target = denoising_target(pipeline, clean, noise, timesteps)
    loss: Tensor = (guess.float() - target).square().mean((1, 2, 3))
    return loss


def signal_to_noise(pipeline: Pipeline, timesteps: Tensor) -> Tensor:
    """a / (1 - a) at ``timesteps``, shape (B,)."""
    kept: Tensor = pipeline.scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    return kept / (1 - kept)


def seeded_normal(
    shape: torch.Size | tuple[int, ...], generator: torch.Generator, device: torch.device
) -> Tensor:
    """Standard normal float32 numbers drawn where the generator lives, then moved to ``device``."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)


def _levels(pipeline: Pipeline, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    kept = pipeline.scheduler.alphas_cumprod.to(like.device)[timesteps.to(like.device)].float()
    kept = kept.view(-1, 1, 1, 1)
    return kept.sqrt(), (1 - kept).sqrt()


def _shift(vae: Any) -> float:
    return float(getattr(vae.config, "shift_factor", None) or 0.0)
