"""Few-step models: an adapter with which a diffusion model draws in a few steps (LCM-LoRA).

It is trained to give, from any noisy latents, what the model's own guided sampler would reach in
the end. Merged beside a personal LoRA it gives that LoRA's pictures in 4 to 8 steps of the sampler
``lcm``, without guidance. Distributors of models do so to make them fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor

from siren_ext.adapters.summary import AdapterSummary
from siren_ext.data.dataset import ImageSet
from siren_ext.diffusion.denoiser import Denoiser, each
from siren_ext.errors import ConfigError
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.lora import ADAPTER, switch_lora
from siren_ext.personalize.run import Trainer, personalize
from siren_ext.progress import NULL, Progress

_SPREAD, _SCALE = 0.5, 10.0
"""Of latents, and of timesteps: as diffusers' ``LCMScheduler`` takes them."""
_SMOOTH = 1e-3
"""Errors below this count by their square, larger ones by their size."""


@dataclass(frozen=True)
class ConsistencyConfig(PersonalizeConfig):
    """How a few-step adapter is trained.

    Attributes
    ----------
    precision : str
        ``float32``: the ends seen from two neighbouring points differ by less than 16 bits hold.
    scale : float
        Guidance of the pictures that it learns to reach: w in uncond + w (cond - uncond).
    stride : int
        Timesteps, of 1000, between the two points that are compared. What is learnt near the
        pictures has to travel to pure noise in strides, so short ones take many more steps of
        training.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    scale: Annotated[float, Meta(ge=1.0, le=100.0)] = 3.0
    stride: Annotated[int, Meta(ge=1, le=500)] = 100

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        super().__post_init__()
        expected = {"method": "lora", "precision": "float32", "train_text_encoder": False}
        for name, value in expected.items():
            if (found := getattr(self, name)) != value:
                raise ConfigError(f"ConsistencyConfig.{name} is {found!r}; expected {value!r}.")


class ConsistencyTrainer(Trainer):
    """Trains a LoRA by consistency distillation; the network without it is the teacher."""

    @cached_property
    def _denoiser(self) -> Denoiser:
        return Denoiser(self.pipeline)

    def errors(self, latents: Tensor, texts: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """How far the ends that the network sees from two neighbouring points lie apart.

        Parameters
        ----------
        latents, noise : Tensor
            B x C x h x w scaled latents and standard normal noise.
        texts : Tensor
            B places of prompts.
        times : Tensor
            B timesteps.

        Returns
        -------
        Tensor
            B losses.

        References
        ----------
        Luo et al. (2023), "Latent consistency models" (arXiv 2310.04378), Eq. 9 and Algorithm 1,
        with the same network for both points, as in LCM-LoRA (arXiv 2311.05556); the pseudo-Huber
        loss is that of Song and Dhariwal (2023), arXiv 2310.14189, Eq. 7.
        """
        config = self.config
        assert isinstance(config, ConsistencyConfig)
        later = times.to(latents.device)
        sooner = (later - config.stride).clamp(min=0)
        embeds = self._prompt_embeds(texts)
        noisy = self._denoiser.noisy(latents, noise, later)
        with torch.no_grad():
            switch_lora(self.pipeline.unet, None)
            moved = self._step_back(noisy, embeds, later, sooner, config.scale)
            switch_lora(self.pipeline.unet, ADAPTER, trainable=True)
            wanted = self._end(moved, embeds, sooner)
        apart = self._end(noisy, embeds, later) - wanted
        return ((apart.square() + _SMOOTH**2).sqrt() - _SMOOTH).flatten(1).mean(1)

    def _step_back(
        self, noisy: Tensor, embeds: Tensor, later: Tensor, sooner: Tensor, scale: float
    ) -> Tensor:
        """One guided step of DDIM."""
        known, count = self._denoiser, len(noisy)
        empty = self._embeds[:1].expand(count, -1, -1)  # the first prompt is the empty one
        given = {"encoder_hidden_states": torch.cat((empty, embeds))}
        both = known.noise_in(torch.cat((noisy, noisy)), torch.cat((later, later)), given)
        without, with_text = both.chunk(2)
        seen = without + scale * (with_text - without)
        return known.noisy(known.clean(noisy, seen, later), seen, sooner)

    def _end(self, noisy: Tensor, embeds: Tensor, times: Tensor) -> Tensor:
        """The clean latents that the network sees, which at time 0 are the given ones."""
        known = self._denoiser
        seen = known.noise_in(noisy, times, {"encoder_hidden_states": embeds})
        scaled = each(lambda time: _SCALE * time, times).to(noisy)
        kept = _SPREAD**2 / (scaled.square() + _SPREAD**2)
        new = scaled / (scaled.square() + _SPREAD**2).sqrt()
        found: Tensor = kept * noisy + new * known.clean(noisy, seen, times)
        return found


def distil(
    data: ImageSet,
    model: str | Path,
    config: ConsistencyConfig,
    out: Path,
    *,
    device: str = "auto",
    progress: Progress = NULL,
) -> AdapterSummary:
    """Train an adapter with which a model draws in a few steps.

    Parameters
    ----------
    data : ImageSet
        Images with captions, like those that the model was trained on.
    model : str or Path
        The model.
    config : ConsistencyConfig
        The settings.
    out : Path
        The adapter's file, ending in ``.safetensors``. A stopped run is resumed.
    device : str
        Where to train; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    progress : Progress
        One unit per step; may cancel.

    Raises
    ------
    ConfigError, DatasetError, ModelError, MissingExtraError, Cancelled, RankLostError
        As :func:`~siren_ext.personalize.run.personalize`.
    """
    return personalize(
        data, model, config, out, device=device, progress=progress, make=ConsistencyTrainer
    )
