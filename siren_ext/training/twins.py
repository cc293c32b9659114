"""Two copies of the surrogate in one UNet: each is a low-rank adapter beside the frozen weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.personalize.lora import (
    ActiveLora,
    LoraWeights,
    adapter_names,
    remove_lora,
    switch_lora,
)
from siren_ext.ranks import current

Parts = Iterable[tuple[Tensor, Tensor]]
"""A batch in parts: scaled latents n x C x h x w, and prompt embeddings n x tokens x width."""


class Twin:
    """One adapter of the UNet, with an optimiser of its own.

    Parameters
    ----------
    pipeline : Pipeline
        The surrogate's; its weights stay as they are.
    name : str
        The adapter's name in the UNet.
    rate : float
        Learning rate (AdamW).
    seed : int
        Seed of the adapter's initial weights.
    """

    def __init__(self, pipeline: Pipeline, name: str, *, rate: float, seed: int) -> None:
        self.pipeline, self.name = pipeline, name
        holder: Any = SimpleNamespace(unet=pipeline.unet)
        self.weights = LoraWeights(holder, PersonalizeConfig(seed=seed), adapter=name)
        self.optimiser = torch.optim.AdamW([self.weights.vector], lr=rate, weight_decay=0.01)
        self._untrained = self.state()

    def learn(self, parts: Parts, count: int, generator: torch.Generator) -> float:
        """One optimisation step on the denoising loss (SIREN, Eq. 2).

        The parts go through the UNet one after the other and their gradients add up, so that
        memory is that of the largest part.

        Parameters
        ----------
        parts : Parts
            The batch.
        count : int
            Number of images in it.
        generator : torch.Generator
            Draws noise and time steps.

        Returns
        -------
        float
            Mean loss of the batch before the step.
        """
        total = 0.0
        self.weights.clear()
        with self.active(learning=True), torch.enable_grad():
            for latents, texts in parts:
                loss = self._loss(latents, texts, generator)
                share = loss.sum() / count
                torch.autograd.backward([share], inputs=self.weights.live)
                self.weights.collect()
                total += float(share.detach())
        ranks = current()
        if ranks.size > 1 and self.weights.vector.grad is not None:
            ranks.add(self.weights.vector.grad)
        total = sum(ranks.gather(total))
        torch.nn.utils.clip_grad_norm_([self.weights.vector], 1.0)
        self.optimiser.step()
        self.weights.push()
        return total

    def _loss(self, latents: Tensor, texts: Tensor, generator: torch.Generator) -> Tensor:
        """Losses of a part of a batch: of this process' own rows, zero if it has none."""
        ranks, count = current(), len(latents)
        if ranks.size == 1:
            return pipelines.denoising_loss(self.pipeline, latents, texts, generator=generator)
        own, some = ranks.own(0, count), bool(ranks.count(0, count))
        rows = own if some else slice(0, 1)  # numbers are drawn in any case
        losses = pipelines.denoising_loss(
            self.pipeline, latents[rows], texts[rows], generator=generator, among=(count, rows)
        )
        return losses * some

    def active(self, *, learning: bool = False) -> AbstractContextManager[None]:
        """While it lasts, the UNet is this twin; afterwards it is what it was before."""
        return ActiveLora(self.pipeline.unet, self.name, trainable=learning)

    def forget(self) -> None:
        """Start over as an untrained copy of the surrogate."""
        self.restore(self._untrained)

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {
            "vector": self.weights.vector.detach().clone(),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved :meth:`state`."""
        self.weights.restore(state["vector"])
        self.optimiser.load_state_dict(state["optimiser"])


class Twins:
    """Two twins with equal initial weights, in one UNet.

    The UNet computes what it did before except inside :meth:`Twin.active`.

    Attributes
    ----------
    first, second : Twin
        Trained on coated images; on clean images, or on images with the opposite message.
    """

    def __init__(self, pipeline: Pipeline, *, rate: float = 5e-4, seed: int = 0) -> None:
        taken = adapter_names(pipeline.unet)
        number = next(n for n in range(len(taken) + 1) if f"first{n}" not in taken)
        self.first = Twin(pipeline, f"first{number}", rate=rate, seed=seed)
        self.second = Twin(pipeline, f"second{number}", rate=rate, seed=seed)
        switch_lora(pipeline.unet, None)

    def __iter__(self) -> Iterator[Twin]:
        return iter((self.first, self.second))

    def close(self) -> None:
        """Take both adapters out of the UNet."""
        for twin in self:
            remove_lora(twin.pipeline.unet, twin.name)
