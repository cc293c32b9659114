"""Training without a model: a toy surrogate, a small coater, few steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from siren_ext.coater.config import CoaterConfig
from siren_ext.data.dataset import ImageSet
from siren_ext.training.config import TrainConfig
from siren_ext.training.trainer import CoaterTrainer

SIDE = 24


SMALL = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=3, working_size=16
)


QUICK = TrainConfig(
    steps=8,
    batch_size=2,
    warmup=2,
    learn_images=1,
    round_trips=1,
    denoised=0,
    rehearse_every=0,
    learning_rate=5e-3,
    extractor_rate=5e-3,
)


class Toy:
    """A surrogate without a model: halved resolution, and a high-pass as its denoiser."""

    prompt = "a toy"
    generates = False
    identity = "toy"

    def __init__(self, side: int = SIDE) -> None:
        self.resolution = side

    def denoising_loss(
        self, images: Tensor, *, generator: torch.Generator, draws: int = 1
    ) -> Tensor:
        latents = 2 * F.avg_pool2d(images, 2) - 1
        noise = torch.randn(latents.shape, generator=generator)
        level = torch.rand(len(latents), 1, 1, 1, generator=generator)
        noisy = level.sqrt() * latents + (1 - level).sqrt() * noise
        guess = noisy - F.avg_pool2d(noisy, 3, 1, 1)
        return (guess - noise).square().mean((1, 2, 3))

    def round_trip(self, images: Tensor) -> Tensor:
        small = F.avg_pool2d(images, 2)
        return F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)

    def renoise(self, images: Tensor, low: int, high: int, *, generator: torch.Generator) -> Tensor:
        noise = torch.randn(images.shape, generator=generator)
        return self.round_trip(images + 0.05 * noise).clamp(0, 1)

    def generate(
        self, picks: Tensor, *, generator: torch.Generator, guidance: float = 3.0
    ) -> Tensor:
        raise NotImplementedError

    def rehearsal(self, *, seed: int, message: Tensor | None = None) -> None:
        return None


def trainer(data: ImageSet, config: TrainConfig = QUICK, **options: Any) -> CoaterTrainer:
    """A trainer of a small coater on a toy."""
    options = {"coater": SMALL, "start": None, "device": "cpu"} | options
    return CoaterTrainer(data, options.pop("surrogate", Toy(16)), config, **options)


def quick(**changes: Any) -> TrainConfig:
    """Settings of a short run."""
    return dataclasses.replace(QUICK, **changes)


class Broken(Toy):
    """Fails in the learnability term of a chosen call."""

    def __init__(self, fails_at: int, error: BaseException | None = None) -> None:
        super().__init__(16)
        self.calls, self.fails_at, self.error = 0, fails_at, error

    def denoising_loss(self, images: Tensor, **options: Any) -> Tensor:
        self.calls += 1
        loss = super().denoising_loss(images, **options)
        if self.calls != self.fails_at:
            return loss
        if self.error is not None:
            raise self.error
        return loss * float("nan")
