"""Images that pass a model together, and predictions that several features share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from siren_ext.diffusion.denoiser import SMALL, Condition, Denoiser, taken
from siren_ext.passive.config import TIMES, PassiveConfig

DRAWS = 5
"""Noises of the denoising loss, and of the multiple loss except in the published code."""
_TOGETHER = 40 * 16 * 16
"""Cells of latents in one pass from which on a larger pass is no faster per image on a processor.
Five noises of eight pictures of 128 pixels have as many; those of 512 pixels pass one by one, so
that they take no more memory."""


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
        return self.model.noise_in(noisy, time, self._condition(captioned, 1))

    def noise_in_each(
        self, noisy: Sequence[Tensor], time: int, *, captioned: bool = True
    ) -> tuple[Tensor, ...]:
        """The noise that the model sees in several noisy versions of the images.

        Versions of small pictures pass the model together, which is faster.

        Parameters
        ----------
        noisy : sequence of Tensor
            Versions, each B x C x h x w.
        time : int
            Timestep from 0 to 999.
        captioned : bool
            Whether the model is given the captions, or the empty text.

        Returns
        -------
        tuple[Tensor, ...]
            One per version, B x C x h x w.
        """
        count, height, width = len(noisy), *self.latents.shape[2:]
        if count * len(self.texts) * height * width > _TOGETHER:
            return tuple(self.noise_in(one, time, captioned=captioned) for one in noisy)
        condition = self._condition(captioned, count)
        return self.model.noise_in(torch.cat(list(noisy)), time, condition).chunk(count)

    def step(self, latents: Tensor, start: int, end: int, noise: Tensor | None = None) -> Tensor:
        """One deterministic DDIM step between two timesteps, in either direction.

        Parameters
        ----------
        latents : Tensor
            B x C x h x w.
        start, end : int
            Timesteps from 0 to 999.
        noise : Tensor | None
            What the model sees in ``latents`` at ``start``, if that is known; saves a pass.

        References
        ----------
        Song et al. (2021), "Denoising diffusion implicit models" (arXiv 2010.02502), Eq. 12 with
        sigma 0.
        """
        noise, model = self.noise_in(latents, start) if noise is None else noise, self.model
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
        known = self.first_slopes if captioned and self.masks_share_noise else ()
        noises = [self.noise("losses", draw) for draw in range(bool(known), draws)]
        found = []
        for place, time in enumerate(TIMES):
            noisy = [self.model.noisy(self.latents, noise, time) for noise in noises]
            seen = self.noise_in_each(noisy, time, captioned=captioned)
            errors = [norm(one - noise) for one, noise in zip(seen, noises, strict=True)]
            if known:
                errors = [known[place][0], *errors]
            found.append(torch.stack(errors))
        return torch.stack(found, dim=1)

    @property
    def masks_share_noise(self) -> bool:
        """Whether gradient masking uses the first noise of the losses, and so its passes.

        In CDI's code each feature draws its own.
        """
        measured = "gradient_masking" in self.config.families
        return measured and self.config.variant != "official"

    @cached_property
    def first_slopes(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """:meth:`slope` for the first noise of the losses at each of :data:`TIMES`."""
        noise = self.noise("losses")
        return tuple(self.slope(noise, time) for time in TIMES)

    def slope(self, noise: Tensor, time: int) -> tuple[Tensor, Tensor]:
        """Norms of the error, B, and their gradients in the noisy latents, B x C x h x w.

        Parameters
        ----------
        noise : Tensor
            B x C x h x w.
        time : int
            Timestep from 0 to 999.
        """
        noisy = self.model.noisy(self.latents, noise, time)
        with torch.enable_grad():
            given = noisy.detach().requires_grad_(True)
            errors = norm(self.noise_in(given, time) - noise)
            found = torch.autograd.grad(errors.sum(), given)[0]
        return errors.detach(), found

    def _condition(self, captioned: bool, versions: int) -> Condition:
        """What the network is given beside so many versions of the images; made once."""
        key = captioned, versions
        if key not in self._conditions:
            if versions > 1:
                rows = list(range(len(self.texts))) * versions
                self._conditions[key] = taken(self._condition(captioned, 1), rows)
            else:
                texts = self.texts if captioned else ("",) * len(self.texts)
                self._conditions[key] = self.model.condition(texts, self.size)
        return self._conditions[key]

    @cached_property
    def _conditions(self) -> dict[tuple[bool, int], Condition]:
        return {}


def together(config: PassiveConfig, size: int) -> int:
    """Images of so many pixels a side that pass the model together."""
    if config.batch_size:
        return config.batch_size
    return 20 if size <= SMALL and config.variant != "official" else 8


def norm(errors: Tensor, power: float = 2.0) -> Tensor:
    """The norm over all elements of each image: B x C x h x w to B."""
    found: Tensor = torch.linalg.vector_norm(errors.flatten(1), ord=power, dim=1)
    return found


def noise_seed(seed: int, digest: str, purpose: str, draw: int) -> int:
    """The seed of one image's noise."""
    text = f"{seed}:{digest}:{purpose}:{draw}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
