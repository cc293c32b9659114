"""The owner's stand-in for the infringer's model: frozen, differentiable, personalised.

The coater is trained against it: which coatings lower its denoising loss (learnability), and which
survive noise and denoising (what generation does to every picture).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from siren_ext.data.images import square_view
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import sample_latents
from siren_ext.personalize.lora import ActiveLora, active_lora
from siren_ext.ranks import current
from siren_ext.training.rehearsal import Rehearsal
from siren_ext.training.twins import Twins

PIXELS_AT_ONCE = 1 << 20
"""Pixels of the pictures that pass a model together where no gradient is kept: four of 512 x 512.

More would not fit beside Stable Diffusion on a common graphics card.
"""
PIXELS_WITH_GRADIENT = 1 << 18
"""The same where what the model computed is kept for the gradient: one picture of 512 x 512."""
BYTES_WITH_GRADIENT = 6e9
"""What so many pixels take beside Stable Diffusion 1.5 (``benchmarks/training_memory.py``)."""


def at_once(resolution: int) -> int:
    """How many pictures with sides of ``resolution`` pixels pass a model together, at least one."""
    return max(1, PIXELS_AT_ONCE // resolution**2)


def at_once_with_gradient(resolution: int, device: torch.device) -> int:
    """The same where a gradient is kept; more on a graphics card with much free memory."""
    pixels = PIXELS_WITH_GRADIENT
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        pixels *= max(1, int(0.6 * free / BYTES_WITH_GRADIENT))
    return max(1, pixels // resolution**2)


class Surrogate(Protocol):
    """What coater training needs of a diffusion model.

    Attributes
    ----------
    resolution : int
        Side in pixels at which the model sees pictures.
    prompt : str
        The surrogate prompt.
    generates : bool
        Whether :meth:`generate` can be called.
    identity : str
        What tells the model from others, such as hashes of its files; "" if that is not known. A
        stopped training is continued only against the same model.
    """

    resolution: int
    prompt: str
    generates: bool
    identity: str

    def denoising_loss(
        self,
        images: Tensor,
        *,
        generator: torch.Generator,
        draws: int = 1,
        rows: slice | None = None,
    ) -> Tensor:
        """Denoising loss of B x 3 x H x W images in [0,1] (SIREN, Eq. 2): B; differentiable.

        With ``rows``, which is given in one of several processes only, that of these images, with
        the random numbers that they have among all.
        """

    def round_trip(self, images: Tensor) -> Tensor:
        """B x 3 x H x W images in [0,1] through the autoencoder; differentiable."""

    def renoise(
        self,
        images: Tensor,
        low: int,
        high: int,
        *,
        generator: torch.Generator,
        rows: slice | None = None,
    ) -> Tensor:
        """The images, or ``rows`` of them, noised to a random step in [low, high) and denoised."""

    def generate(
        self, picks: Tensor, *, generator: torch.Generator, guidance: float = 3.0
    ) -> Tensor:
        """A picture in [0,1] for the caption of each image in ``picks`` (n numbers)."""

    def rehearsal(self, *, seed: int, message: Tensor | None = None) -> Rehearsal | None:
        """Twins of the model that can learn the coating; None where the model can't be trained."""


class DiffusionSurrogate:
    """A :class:`Surrogate` over any pipeline of Stable Diffusion's shape.

    Autoencoder, UNet and text encoder are frozen (no gradient is ever stored on their weights);
    gradients pass through their activations to the images. The prompt is encoded once.

    Parameters
    ----------
    pipeline : Any
        As :func:`siren_ext.diffusion.load.load_pipeline` gives it, usually with a clean adapter
        merged.
    prompt : str
        The surrogate prompt, for instance ``an image of a dog``.
    captions : Sequence[str]
        One per image, for rehearsals: what an infringer would train with. Without any, the
        prompt stands for all.
    identity : str
        As in :class:`Surrogate`.

    Attributes
    ----------
    kept : Tensor
        Share of signal power left at each step of the noise schedule.
    """

    generates = True

    def __init__(
        self, pipeline: Any, prompt: str, captions: Sequence[str] = (), *, identity: str = ""
    ) -> None:
        self.pipeline, self.identity = pipeline, identity
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

    def captioned(
        self, images: Tensor, picks: Tensor, generator: torch.Generator, size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Latents of images (B x 3 x H x W in [0,1]) and embeddings of their captions.

        In parts of at most ``size`` images.
        """
        for part, rows in zip(torch.split(images, size), torch.split(picks, size), strict=True):
            with torch.no_grad():
                latents = self.encode(part, generator)
            yield latents, self.texts(rows)

    def encode(
        self,
        images: Tensor,
        generator: torch.Generator | None = None,
        among: pipelines.Among | None = None,
    ) -> Tensor:
        """Scaled latents of images of any size, seen at the surrogate's resolution."""
        view = square_view(images, self.resolution)
        return pipelines.encode_latents(self.pipeline, view, generator, among)

    def decode(self, latents: Tensor) -> Tensor:
        """Images in [0,1] of scaled latents."""
        return pipelines.decode_latents(self.pipeline, latents)

    def denoising_loss(
        self,
        images: Tensor,
        *,
        generator: torch.Generator,
        draws: int = 1,
        rows: slice | None = None,
    ) -> Tensor:
        """Learnability loss per image (SIREN, Eq. 2), averaged over ``draws`` noise levels.

        The levels of one image are spread evenly over the schedule (stratified), which lowers the
        variance at equal cost.
        """
        own, among = rows or slice(None), None if rows is None else (len(images), rows)
        latents = self.encode(images[own], generator, among)
        total = torch.zeros(len(latents), device=latents.device)
        steps = len(self.kept)
        for draw in range(draws):
            place = torch.rand(len(images), generator=generator)[own]
            times = ((draw + place) / draws * steps).long().clamp_max(steps - 1)
            total = total + pipelines.denoising_loss(
                self.pipeline,
                latents,
                self.embeddings(len(latents)),
                generator=generator,
                timesteps=times.to(latents.device),
                among=among,
            )
        return total / draws

    def round_trip(self, images: Tensor) -> Tensor:
        """The images through the autoencoder; differentiable."""
        return self.decode(self._lightly(self.encode, images))

    def renoise(
        self,
        images: Tensor,
        low: int,
        high: int,
        *,
        generator: torch.Generator,
        rows: slice | None = None,
    ) -> Tensor:
        """The images, or ``rows`` of them, noised to a random step in [low, high) and denoised."""
        own, among = rows or slice(None), None if rows is None else (len(images), rows)
        latents = self._lightly(self.encode, images[own])
        drawn = torch.randint(low, high, (len(images),), generator=generator)
        times = drawn[own].to(latents.device)
        noise = pipelines.seeded_normal(latents.shape, generator, latents.device, among)
        noisy = pipelines.add_noise(self.pipeline, latents, noise, times)
        unet = self.pipeline.unet
        twin = active_lora(unet)  # which may be another when the gradient is computed
        clean = self._lightly(
            lambda given: self.denoise(given, times), noisy, lambda: ActiveLora(unet, twin)
        )
        return self.decode(clean)

    def _lightly(
        self,
        network: Callable[[Tensor], Tensor],
        given: Tensor,
        again: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> Tensor:
        """``network(given)``; for the gradient only ``given`` is kept and the rest computed again.

        Autoencoder and denoiser in a row need not be in memory together then. Few or small
        pictures are not worth the time. ``again`` gives the context of the second computation.
        """
        large = len(given) * self.resolution**2 >= PIXELS_WITH_GRADIENT
        if not (large and torch.is_grad_enabled() and given.requires_grad):
            return network(given)
        result: Tensor = checkpoint(
            network, given, use_reentrant=False, context_fn=lambda: (nullcontext(), again())
        )
        return result

    def denoise(self, noisy: Tensor, times: Tensor) -> Tensor:
        """The one-step estimate of clean latents from B noisy ones at B time steps."""
        unet = self.pipeline.unet
        text = self.embeddings(len(noisy)).to(unet.dtype)
        guess = unet(noisy.to(unet.dtype), times, text, return_dict=False)[0].float()
        return pipelines.clean_estimate(self.pipeline, noisy, guess, times)

    def generate(
        self, picks: Tensor, *, generator: torch.Generator, guidance: float = 3.0
    ) -> Tensor:
        """A picture in [0,1] for the caption of each image in ``picks`` (n numbers)."""
        texts = self.texts(picks)
        return self.sample(len(picks), generator=generator, guidance=guidance, texts=texts)

    def rehearsal(self, *, seed: int, message: Tensor | None = None) -> Rehearsal:
        """Twins of the model, as adapters in its UNet, that can learn the coating."""
        return Rehearsal(self, Twins(self.pipeline, seed=seed), message)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator,
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

        def made(rows: Tensor) -> Tensor:
            latents = sample_latents(
                self.pipeline, noise[rows], text[rows], without, steps=steps, guidance=guidance
            )
            return self.decode(latents)

        ranks, parts = current(), torch.split(torch.arange(count, device=noise.device), size)
        return torch.cat([ranks.mapped(made, rows) for rows in parts])
