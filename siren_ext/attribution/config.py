"""Settings of attribution to single images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from siren_ext.config import Config


@dataclass(frozen=True)
class AttributionConfig(Config):
    """How gradients of images are measured and compared.

    Attributes
    ----------
    output : {"norm", "loss"}
        What is differentiated: the squared norm of the noise prediction, as D-TRAK chooses, or the
        squared error of that prediction, which gives TRAK.
    times, noises : int
        Noise levels per image, evenly spread over the schedule, and noises at each of them:
        ``times * noises`` gradients per image. The interval comes from the spread over noises.
    dimension : int
        Numbers that are kept of a gradient, after random projection. Inner products of gradients
        are then off by about 1 / sqrt(dimension) of the product of their lengths.
    projection : {"rademacher", "gaussian"}
        The random numbers of the projection: signs, or normal ones.
    ridge : float
        Regularisation, as a multiple of the mean squared length of the images' gradients.
    captions : {"own", "none"}
        The text of the model's predictions: each image's caption (or class words, or else the empty
        text), or the empty text for all.
    repeats : int
        Bootstrap samples of the interval.
    resolution : int
        Side of the images in pixels; 0 takes the model's own.
    batch_size : int
        Gradients that are computed together; results do not depend on it.
    seed : int
        Seed of noise and projection. An image's noise depends on the seed and its bytes only.
    """

    output: Literal["norm", "loss"] = "norm"
    times: Annotated[int, Meta(ge=1, le=1000)] = 10
    noises: Annotated[int, Meta(ge=2, le=1000)] = 10
    dimension: Annotated[int, Meta(ge=8, le=65_536)] = 512
    projection: Literal["rademacher", "gaussian"] = "rademacher"
    ridge: Annotated[float, Meta(ge=1e-6, le=1e6)] = 0.1
    captions: Literal["own", "none"] = "own"
    repeats: Annotated[int, Meta(ge=10, le=100_000)] = 200
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 32
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    @property
    def levels(self) -> tuple[int, ...]:
        """The timesteps, from 0 to 999: the middle of each of ``times`` equal parts."""
        return tuple((2 * part + 1) * 500 // self.times for part in range(self.times))
