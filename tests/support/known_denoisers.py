"""Diffusion models whose predictions are known, and batches for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from siren_ext.passive.batch import Batch
from siren_ext.passive.config import PassiveConfig

SHAPE = (4, 8, 8)


class Constant:
    """Sees the same noise in everything, plus ``slope`` times what it is given."""

    guess = "epsilon"
    device = torch.device("cpu")

    def __init__(self, size: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(3)
        self.seen = size * torch.randn(SHAPE, generator=generator)
        self.slope = 0.0

    def signal(self, time: int) -> float:
        return math.cos(0.1 + 1.3 * time / 1000)

    def rest(self, time: int) -> float:
        return math.sin(0.1 + 1.3 * time / 1000)

    def weight(self, time: int) -> float:
        return 1.0

    def noisy(self, latents: Tensor, noise: Tensor, time: int) -> Tensor:
        return self.signal(time) * latents + self.rest(time) * noise

    def condition(self, texts: Sequence[str], size: int) -> dict[str, Any]:
        return {"texts": torch.tensor([float(len(text)) for text in texts])}

    def noise_in(self, noisy: Tensor, time: int, condition: dict[str, Any]) -> Tensor:
        return self.seen + self.slope * noisy


class Counting(Constant):
    """Counts the calls, and the images that pass in them."""

    calls = passes = 0

    def noise_in(self, noisy: Tensor, time: int, condition: dict[str, Any]) -> Tensor:
        self.calls += 1
        self.passes += len(noisy)
        return super().noise_in(noisy, time, condition)


def batch_of(model: Any, count: int = 3, **settings: Any) -> Batch:
    """A batch of random latents."""
    drawn = torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(5))[:count]
    return Batch(
        model,
        drawn,
        tuple(f"image {number}" for number in range(count)),
        tuple(f"{number:064x}" for number in range(count)),
        64,
        PassiveConfig(**settings),
    )
