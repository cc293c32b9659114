"""A rehearsed infringement: a copy of the surrogate that learns from coated images meanwhile.

The owner may do what an infringer will do. What this copy generates is what the extractor has to
tell from what the clean surrogate generates, and what passes through it is what the generator has
to survive. Evaluation uses other seeds, prompts and noise than rehearsal, or it would prove nothing.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from siren_ext import pipelines
from siren_ext.personalize import PersonalizeConfig
from siren_ext.personalize.lora import LoraWeights
from siren_ext.surrogate import DiffusionSurrogate


class Rehearsal:
    """The rehearsing copy: its UNet, its adapter and the adapter's optimiser.

    Args:
        surrogate: the clean surrogate; it is left as it is.
        rate: learning rate of the adapter.
        seed: of the adapter's initial weights.
    """

    def __init__(self, surrogate: DiffusionSurrogate, *, rate: float = 5e-4, seed: int = 0) -> None:
        self.surrogate = surrogate
        self.unet: Any = copy.deepcopy(surrogate.pipeline.unet)
        holder: Any = SimpleNamespace(unet=self.unet)
        self.weights = LoraWeights(holder, PersonalizeConfig(seed=seed))
        self.optimiser = torch.optim.AdamW([self.weights.vector], lr=rate, weight_decay=0.01)

    def learn(self, images: Tensor, generator: torch.Generator) -> float:
        """One denoising step on B coated images in [0,1]; returns the loss."""
        with torch.no_grad():
            latents = self.surrogate.encode(images, generator)
        with torch.enable_grad():
            loss = pipelines.denoising_loss(
                self.surrogate.pipeline,
                latents,
                self.surrogate.embeddings(len(images)),
                generator=generator,
                unet=self.unet,
            ).mean()
            self.weights.clear()
            torch.autograd.backward([loss], inputs=self.weights.live)
        self.weights.collect()
        torch.nn.utils.clip_grad_norm_([self.weights.vector], 1.0)
        self.optimiser.step()
        self.weights.push()
        return float(loss.detach())

    def mimicries(self, count: int, *, seed: int, guidance: float) -> tuple[Tensor, Tensor]:
        """``count`` images of the rehearsing copy and as many of the clean one, from equal noise."""
        pair = []
        for unet in (self.unet, self.surrogate.pipeline.unet):
            generator = torch.Generator().manual_seed(seed)
            pair.append(
                self.surrogate.sample(count, generator=generator, unet=unet, guidance=guidance)
            )
        return pair[0], pair[1]

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "vector": self.weights.vector.detach().clone(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved :meth:`state`."""
        self.weights.restore(state["vector"])
        self.optimiser.load_state_dict(state["optimiser"])
