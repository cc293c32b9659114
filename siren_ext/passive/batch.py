"""Images that pass a model together, and predictions that several features share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from siren_ext.passive.config import TIMES, PassiveConfig
from siren_ext.passive.denoiser import Condition, Denoiser

DRAWS = 5
"""Noises of the denoising loss, and of the multiple loss except in the published code."""


@dataclass(frozen=True)
class Batch:
    """B images as a model sees them.

    Attributes
    ----------
    model : Denoiser
        The model.
    latents : Tensor
        B x C x h x w, float32, on the model's device.
    texts : tuple[str, ...]
        B captions.
    hashes : tuple[str, ...]
        B SHA-256 of the image files, from which their noise is derived.
    size : int
        Side of the pictures in pixels.
    config : PassiveConfig
        The settings.
    """

    model: Denoiser
    latents: Tensor
    texts: tuple[str, ...]
    hashes: tuple[str, ...]
    size: int
    config: PassiveConfig

    def noise(self, purpose: str, draw: int = 0) -> Tensor:
        """Standard normal noise, B x C x h x w.

        It depends on the seed, the image's bytes, the purpose and the draw only: not on the model,
        the order of the images or their batches.

        Parameters
        ----------
        purpose : str
            What it is for; features of the same purpose share noise.
        draw : int
            Number of the draw.
        """
        shape = self.latents.shape[1:]
        drawn = [
            np.random.default_rng(noise_seed(self.config.seed, digest, purpose, draw))
            .standard_normal(shape, dtype=np.float32)
            for digest in self.hashes
        ]  # fmt: skip
        return torch.from_numpy(np.stack(drawn)).to(self.latents.device)

    def noise_in(self, noisy: Tensor, time: int, *, captioned: bool = True) -> Tensor:
        """The noise that the model sees in noisy latents, B x C x h x w.

        Parameters
        ----------
        noisy : Tensor
            B x C x h x w.
        time : int
            Timestep from 0 to 999.
        captioned : bool
            Whether the model is given the captions, or the empty text.
        """
        condition = self._captioned if captioned else self._uncaptioned
        return self.model.noise_in(noisy, time, condition)

    def step(self, latents: Tensor, start: int, end: int) -> Tensor:
        """One deterministic DDIM step between two timesteps, in either direction.

        References
        ----------
        Song et al. (2021), "Denoising diffusion implicit models" (arXiv 2010.02502), Eq. 12 with
        sigma 0.
        """
        noise, model = self.noise_in(latents, start), self.model
        clean = (latents - model.rest(start) * noise) / model.signal(start)
        return model.signal(end) * clean + model.rest(end) * noise

    @cached_property
    def first_noise(self) -> Tensor:
        """The noise that the model sees in the clean latents at timestep 0, B x C x h x w."""
        return self.noise_in(self.latents, 0)

    @cached_property
    def errors(self) -> Tensor:
        """Norms of the error at :data:`TIMES`, by draw of the noise: draws x 10 x B."""
        return self._errors(captioned=True)

    @cached_property
    def uncaptioned_errors(self) -> Tensor:
        """The same without captions."""
        return self._errors(captioned=False)

    def _errors(self, *, captioned: bool) -> Tensor:
        draws = 1 if self.config.variant == "official" else DRAWS
        found = []
        for draw in range(draws):
            noise = self.noise("losses", draw)
            for time in TIMES:
                noisy = self.model.noisy(self.latents, noise, time)
                found.append(norm(self.noise_in(noisy, time, captioned=captioned) - noise))
        return torch.stack(found).view(draws, len(TIMES), -1)

    @cached_property
    def _captioned(self) -> Condition:
        return self.model.condition(self.texts, self.size)

    @cached_property
    def _uncaptioned(self) -> Condition:
        return self.model.condition([""] * len(self.texts), self.size)


def norm(errors: Tensor, power: float = 2.0) -> Tensor:
    """The norm over all elements of each image: B x C x h x w to B."""
    found: Tensor = torch.linalg.vector_norm(errors.flatten(1), ord=power, dim=1)
    return found


def noise_seed(seed: int, digest: str, purpose: str, draw: int) -> int:
    """The seed of one image's noise."""
    text = f"{seed}:{digest}:{purpose}:{draw}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
