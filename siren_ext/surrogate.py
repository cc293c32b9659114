"""The owner's stand-in for the infringer's model: frozen, differentiable, personalised.

The coater learns against it: which coatings lower its denoising loss (learnability), and which
survive being noised and denoised (what generation does to everything).
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from siren_ext import pipelines
from siren_ext.images import square_view


class Surrogate(Protocol):
    """What coater training needs of a diffusion model."""

    resolution: int

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        """B losses of B x 3 x H x W images in [0,1]; differentiable."""

    def round_trip(self, images: Tensor) -> Tensor:
        """The images through the autoencoder; differentiable."""

    def renoise(
        self, images: Tensor, low: int, high: int, *, generator: torch.Generator
    ) -> Tensor:
        """The images noised to a random step in [low, high) and denoised in one step."""


class DiffusionSurrogate:
    """A :class:`Surrogate` over any Stable-Diffusion-shaped diffusers pipeline.

    Autoencoder, UNet and text encoder are frozen (no gradient is ever stored on their weights);
    gradients flow through their activations to the images. The prompt is encoded once.

    Args:
        pipeline: as :func:`siren_ext.pipelines.load_pipeline` gives it, usually with a clean
            adapter merged.
        prompt: the surrogate prompt, for instance ``an image of a dog``.
    """

    def __init__(self, pipeline: Any, prompt: str) -> None:
        self.pipeline = pipeline
        for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
            part.requires_grad_(False)
            part.eval()
        self.prompt = prompt
        with torch.no_grad():
            self.embedding = pipelines.encode_prompts(pipeline, [prompt])
        factor = pipelines.latent_factor(pipeline)
        self.resolution = int(pipeline.unet.config.sample_size) * factor
        self.kept = pipeline.scheduler.alphas_cumprod.to(self.embedding.device, torch.float32)

    def embeddings(self, count: int) -> Tensor:
        """The cached prompt embedding, repeated."""
        return self.embedding.expand(count, -1, -1)

    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Scaled latents of images of any size, seen at the surrogate's resolution."""
        view = square_view(images, self.resolution)
        return pipelines.encode_latents(self.pipeline, view, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Images in [0,1] of scaled latents."""
        return pipelines.decode_latents(self.pipeline, latents)

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        """Learnability loss per image (SIREN, Eq. 2), averaged over ``draws`` noise levels.

        The levels of one image are spread evenly over the schedule (stratified), which lowers the
        variance at equal cost.
        """
        latents = self.encode(images, generator)
        total = torch.zeros(len(images), device=latents.device)
        steps = len(self.kept)
        for draw in range(draws):
            place = torch.rand(len(images), generator=generator)
            times = ((draw + place) / draws * steps).long().clamp_max(steps - 1)
            total = total + pipelines.denoising_loss(
                self.pipeline,
                latents,
                self.embeddings(len(images)),
                generator=generator,
                timesteps=times.to(latents.device),
            )
        return total / draws

    def round_trip(self, images: Tensor) -> Tensor:
        """The images through the autoencoder; differentiable."""
        return self.decode(self.encode(images))

    def renoise(
        self,
        images: Tensor,
        low: int,
        high: int,
        *,
        generator: torch.Generator,
        unet: Any | None = None,
    ) -> Tensor:
        """The images noised to a random step in [low, high) and denoised in one step.

        Args:
            unet: another denoiser than the surrogate's own, for instance one that was trained on
                coated images.
        """
        latents = self.encode(images)
        times = torch.randint(low, high, (len(images),), generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        level = self.kept[times].view(-1, 1, 1, 1)
        noisy = level.sqrt() * latents.float() + (1 - level).sqrt() * noise
        return self.decode(self.denoise(noisy, times, unet=unet))

    def denoise(self, noisy: Tensor, times: Tensor, *, unet: Any | None = None) -> Tensor:
        """The one-step estimate of clean latents from B noisy ones at B time steps."""
        unet = unet or self.pipeline.unet
        dtype = next(unet.parameters()).dtype
        guess = unet(
            noisy.to(dtype), times, self.embeddings(len(noisy)).to(dtype)
        ).sample.float()
        level = self.kept[times].view(-1, 1, 1, 1)
        if self.pipeline.scheduler.config.prediction_type == "v_prediction":
            return level.sqrt() * noisy - (1 - level).sqrt() * guess
        return (noisy - (1 - level).sqrt() * guess) / level.sqrt()

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator,
        unet: Any | None = None,
        steps: int = 10,
        guidance: float = 3.0,
    ) -> Tensor:
        """``count`` generated images in [0,1] (DDIM), as a suspect would make them."""
        channels = self.pipeline.unet.config.in_channels
        side = self.resolution // pipelines.latent_factor(self.pipeline)
        latents = torch.randn(count, channels, side, side, generator=generator)
        latents = latents.to(self.embedding.device)
        unet = unet or self.pipeline.unet
        dtype = next(unet.parameters()).dtype
        empty = pipelines.encode_prompts(self.pipeline, [""]).expand(count, -1, -1)
        text = torch.cat([empty, self.embeddings(count)]).to(dtype)
        times = torch.linspace(len(self.kept) - 1, 0, steps + 1).long().tolist()
        velocity = self.pipeline.scheduler.config.prediction_type == "v_prediction"
        for now, after in zip(times[:-1], times[1:], strict=True):
            level = self.kept[now]
            both = unet(torch.cat([latents, latents]).to(dtype), now, text).sample.float()
            plain, guided = both.chunk(2)
            guess = plain + guidance * (guided - plain)
            if velocity:
                guess = level.sqrt() * guess + (1 - level).sqrt() * latents
            clean = (latents - (1 - level).sqrt() * guess) / level.sqrt()
            level = self.kept[after] if after > 0 else torch.ones(())
            latents = level.sqrt() * clean + (1 - level).sqrt() * guess
        return self.decode(latents).clamp(0, 1)
