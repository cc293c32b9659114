"""Noise predictions of flow-matching models: Stable Diffusion 3 and Flux. Experimental.

x_s = (1 - s) z + s noise, and the network predicts the velocity noise - z, so the noise that it
sees is x_s + (1 - s) velocity. No published study measures such models like this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.denoiser import STEPS, Condition, Denoiser, Times, each
from siren_ext.diffusion.load import Pipeline


class FlowDenoiser(Denoiser):
    """Stable Diffusion 3."""

    experimental = True

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.network = pipeline.transformer
        self.guess = "velocity"

    @property
    def native_size(self) -> int:
        """Side in pixels of the model's own pictures."""
        side = self.network.config.get("sample_size") or self.pipeline.default_sample_size
        return int(side) * pipelines.latent_factor(self.pipeline)

    @property
    def size_step(self) -> int:
        """Sides of pictures must be multiples of this many pixels."""
        return pipelines.latent_factor(self.pipeline) * int(self.network.config.patch_size)

    def signal(self, time: int) -> float:
        """Share of the latents in noisy ones."""
        return 1.0 - self.rest(time)

    def rest(self, time: int) -> float:
        """Share of the noise; a thousandth at timestep 0."""
        return (time + 1) / STEPS

    def weight(self, time: int) -> float:
        """From the squared error of the noise to that of the velocity."""
        return self.signal(time) ** -2

    @torch.no_grad()
    def condition(self, texts: Sequence[str], size: int) -> Condition:
        """Embeddings of B texts."""
        embeds, _, pooled, _ = self.pipeline.encode_prompt(
            list(texts), None, None, device=self.device, do_classifier_free_guidance=False
        )
        return {"encoder_hidden_states": embeds, "pooled_projections": pooled}

    def noise_in(self, noisy: Tensor, time: Times, condition: Condition) -> Tensor:
        """The noise that the model sees, B x C x h x w."""
        velocity = self._velocity(noisy, time, condition).float()
        seen: Tensor = noisy + each(self.signal, time) * velocity
        return seen

    def _rests(self, noisy: Tensor, time: Times) -> Tensor:
        """Share of the noise in each of B noisy latents."""
        rests = torch.as_tensor(each(self.rest, time), device=noisy.device).flatten()
        return rests.expand(len(noisy))

    def _velocity(self, noisy: Tensor, time: Times, condition: Condition) -> Tensor:
        steps = self._rests(noisy, time) * STEPS
        found: Tensor = self.network(
            hidden_states=noisy, timestep=steps, return_dict=False, **condition
        )[0]
        return found


class FluxDenoiser(FlowDenoiser):
    """Flux: cells of 2 x 2 latents, places of all tokens, and a guidance of 1 if it takes one."""

    @property
    def native_size(self) -> int:
        """Side in pixels of the model's own pictures."""
        return int(self.pipeline.default_sample_size) * pipelines.latent_factor(self.pipeline)

    @property
    def size_step(self) -> int:
        """Sides of pictures must be multiples of this many pixels."""
        return 2 * pipelines.latent_factor(self.pipeline)

    @torch.no_grad()
    def condition(self, texts: Sequence[str], size: int) -> Condition:
        """Embeddings of B texts, and the places of the tokens."""
        embeds, pooled, places = self.pipeline.encode_prompt(list(texts), None, device=self.device)
        given: Condition = {
            "encoder_hidden_states": embeds,
            "pooled_projections": pooled,
            "txt_ids": places,
        }
        if self.network.config.guidance_embeds:
            given["guidance"] = torch.ones(len(texts), device=self.device)
        return given

    def _velocity(self, noisy: Tensor, time: Times, condition: Condition) -> Tensor:
        batch, channels, height, width = noisy.shape
        cells = noisy.reshape(batch, channels, height // 2, 2, width // 2, 2)
        cells = cells.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, 4 * channels)
        steps = self._rests(noisy, time)
        found = self.network(
            hidden_states=cells,
            timestep=steps,
            img_ids=_places(height // 2, width // 2, noisy.device),
            return_dict=False,
            **condition,
        )[0]
        found = found.reshape(batch, height // 2, width // 2, channels, 2, 2)
        spread: Tensor = found.permute(0, 3, 1, 4, 2, 5).reshape(noisy.shape)
        return spread


def _places(rows: int, columns: int, device: torch.device) -> Tensor:
    """Row and column of each cell, rows * columns x 3; the first number is not used."""
    places = torch.zeros(rows, columns, 3, device=device)
    places[..., 1] = torch.arange(rows, device=device)[:, None]
    places[..., 2] = torch.arange(columns, device=device)[None]
    return places.reshape(-1, 3)


FLOWS: dict[str, Callable[[Any], Denoiser]] = {
    "StableDiffusion3Pipeline": FlowDenoiser,
    "FluxPipeline": FluxDenoiser,
}
"""By name of the pipeline's class."""
