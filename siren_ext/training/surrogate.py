"""The owner's stand-in for the infringer's model: frozen, differentiable, personalised.

The coater learns against it: which coatings lower its denoising loss (learnability), and which
survive being noised and denoised (what generation does to everything).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from siren_ext.data.images import square_view
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import sample_latents

PIXELS_AT_ONCE = 1 << 20
"""Pixels of the pictures that pass a model together where no gradient is kept: four of 512 x 512.

More would not fit beside Stable Diffusion on a common graphics card.
"""


def at_once(resolution: int) -> int:
    """How many pictures of that side that is, at least one."""
    return max(1, PIXELS_AT_ONCE // resolution**2)


class Surrogate(Protocol):
    """What coater training needs of a diffusion model."""

    resolution: int

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        """B losses of B x 3 x H x W images in [0,1]; differentiable."""

    def round_trip(self, images: Tensor) -> Tensor:
        """The images through the autoencoder; differentiable."""

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        """The images noised to a random step in [low, high) and denoised in one step."""


class DiffusionSurrogate:
    """A :class:`Surrogate` over any Stable-Diffusion-shaped diffusers pipeline.

    Autoencoder, UNet and text encoder are frozen (no gradient is ever stored on their weights);
    gradients flow through their activations to the images. The prompt is encoded once. ``kept``
    is the share of signal power left at each step of the noise schedule.

    Parameters
    ----------
    pipeline : Any
        as :func:`siren_ext.diffusion.load.load_pipeline` gives it, usually with a clean
        adapter merged.
    prompt : str
        the surrogate prompt, for instance ``an image of a dog``.
    captions : Sequence[str]
        one per image, for rehearsals: what an infringer would train with.
    """

    def __init__(self, pipeline: Any, prompt: str, captions: Sequence[str] = ()) -> None:
        self.pipeline = pipeline
        for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
            part.requires_grad_(False)
            part.eval()
        self.prompt = prompt
        with torch.no_grad():
            self.embedding = pipelines.encode_prompts(pipeline, [prompt])
            rows = [pipelines.encode_prompts(pipeline, [text]) for text in captions]
        self.captions = torch.cat(rows) if rows else self.embedding
        self.resolution = pipelines.native_size(pipeline)
        self.kept: Tensor = pipeline.scheduler.alphas_cumprod.to(self.embedding.device).float()

    def embeddings(self, count: int) -> Tensor:
        """The cached prompt embedding, repeated."""
        return self.embedding.expand(count, -1, -1)

    def texts(self, picks: Tensor) -> Tensor:
        """Embeddings of the captions of images by number; of the prompt where none were given."""
        return self.captions[picks.to(self.captions.device) % len(self.captions)]

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

        Parameters
        ----------
        unet : Any | None
            another denoiser than the surrogate's own, for instance one that was trained on
            coated images.
        """
        latents = self.encode(images)
        times = torch.randint(low, high, (len(images),), generator=generator).to(latents.device)
        noise = pipelines.seeded_normal(latents.shape, generator, latents.device)
        noisy = pipelines.add_noise(self.pipeline, latents, noise, times)
        return self.decode(self.denoise(noisy, times, unet=unet))

    def denoise(self, noisy: Tensor, times: Tensor, *, unet: Any | None = None) -> Tensor:
        """The one-step estimate of clean latents from B noisy ones at B time steps."""
        unet = self.pipeline.unet if unet is None else unet
        text = self.embeddings(len(noisy)).to(unet.dtype)
        guess = unet(noisy.to(unet.dtype), times, text, return_dict=False)[0].float()
        return pipelines.clean_estimate(self.pipeline, noisy, guess, times)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator,
        unet: Any | None = None,
        steps: int = 10,
        guidance: float = 3.0,
        texts: Tensor | None = None,
    ) -> Tensor:
        """``count`` generated images in [0,1], made as a suspect on this machine makes them.

        ``texts`` are prompt embeddings (count or 1 rows); by default the surrogate prompt's.
        """
        side = self.resolution // pipelines.latent_factor(self.pipeline)
        shape = (count, int(self.pipeline.unet.config.in_channels), side, side)
        noise = pipelines.seeded_normal(shape, generator, self.embedding.device)
        text = (self.embedding if texts is None else texts).expand(count, -1, -1)
        without = pipelines.encode_prompts(self.pipeline, [""])
        size = at_once(self.resolution)
        made = [
            self.decode(
                sample_latents(
                    self.pipeline,
                    part,
                    words,
                    without,
                    steps=steps,
                    guidance=guidance,
                    unet=unet,
                )
            )
            for part, words in zip(torch.split(noise, size), torch.split(text, size), strict=True)
        ]
        return torch.cat(made)
