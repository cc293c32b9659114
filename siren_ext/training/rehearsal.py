"""A rehearsed infringement: twins of the surrogate, one learning from coated images meanwhile.

The owner may do what an infringer will do. One twin keeps learning from coated images, the other
from the same images uncoated, with the same noise: what the two generate differs by the coating
alone, and that is what the extractor has to tell apart. Evaluation uses other seeds, prompts and
noise than rehearsal, or it would prove nothing.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.lora import LoraWeights
from siren_ext.training.surrogate import DiffusionSurrogate


class Twin:
    """A copy of the surrogate's UNet with an adapter of its own.

    Parameters
    ----------
    surrogate : DiffusionSurrogate
        the clean surrogate; it is left as it is.
    rate : float
        learning rate of the adapter.
    seed : int
        of the adapter's initial weights.
    """

    def __init__(self, surrogate: DiffusionSurrogate, *, rate: float, seed: int) -> None:
        self.surrogate = surrogate
        self.unet: Any = copy.deepcopy(surrogate.pipeline.unet)
        holder: Any = SimpleNamespace(unet=self.unet)
        self.weights = LoraWeights(holder, PersonalizeConfig(seed=seed))
        self.optimiser = torch.optim.AdamW([self.weights.vector], lr=rate, weight_decay=0.01)
        self._untrained = self.state()

    def forget(self) -> None:
        """Start over as an untrained copy of the surrogate."""
        self.restore(self._untrained)

    def learn(self, images: Tensor, texts: Tensor, generator: torch.Generator) -> float:
        """One denoising step on B images in [0,1] and their prompt embeddings; returns the loss."""
        with torch.no_grad():
            latents = self.surrogate.encode(images, generator)
        with torch.enable_grad():
            loss = pipelines.denoising_loss(
                self.surrogate.pipeline,
                latents,
                texts,
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

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "vector": self.weights.vector.detach().clone(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved :meth:`state`."""
        self.weights.restore(state["vector"])
        self.optimiser.load_state_dict(state["optimiser"])


class Rehearsal:
    """The guilty twin, trained on coated images, and the innocent one, trained on clean images."""

    def __init__(self, surrogate: DiffusionSurrogate, *, rate: float = 5e-4, seed: int = 0) -> None:
        self.surrogate = surrogate
        self.guilty = Twin(surrogate, rate=rate, seed=seed)
        self.innocent = Twin(surrogate, rate=rate, seed=seed)
        self.recent: tuple[Tensor, Tensor] | None = None

    def learn(self, coated: Tensor, clean: Tensor, picks: Tensor, *, seed: int) -> float:
        """One step of either twin with equal noise; returns the guilty one's loss.

        ``picks`` are the numbers of the images, for their captions.
        """
        texts = self.surrogate.texts(picks)
        self.innocent.learn(clean, texts, torch.Generator().manual_seed(seed))
        return self.guilty.learn(coated, texts, torch.Generator().manual_seed(seed))

    def mimicries(self, picks: Tensor, *, seed: int, guidance: float) -> tuple[Tensor, Tensor]:
        """An image per pick of the guilty and of the innocent twin, from equal noise and text."""
        coated, clean = (
            self.surrogate.sample(
                len(picks),
                generator=torch.Generator().manual_seed(seed),
                unet=twin.unet,
                guidance=guidance,
                texts=self.surrogate.texts(picks),
            )
            for twin in (self.guilty, self.innocent)
        )
        return coated, clean

    def keep(self, fresh: tuple[Tensor, Tensor], *, at_most: int) -> None:
        """Put new mimicries of either twin before the kept ones, of which the oldest go."""
        if self.recent is not None:
            fresh = (torch.cat([fresh[0], self.recent[0]]), torch.cat([fresh[1], self.recent[1]]))
        self.recent = (fresh[0][:at_most], fresh[1][:at_most])

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "guilty": self.guilty.state(),
            "innocent": self.innocent.state(),
            "recent": None if self.recent is None else list(self.recent),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved :meth:`state`."""
        self.guilty.restore(state["guilty"])
        self.innocent.restore(state["innocent"])
        recent = state["recent"]
        self.recent = None if recent is None else (recent[0], recent[1])
