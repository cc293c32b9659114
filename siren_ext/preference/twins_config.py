"""Settings of the measurement of twins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ConfigError


@dataclass(frozen=True)
class TwinsConfig(Config):
    """How a model's preference for one of two twins is measured.

    Attributes
    ----------
    draws : int
        Noise levels per image, spread evenly over the schedule between ``low`` and ``high``. Each
        is used with a noise and with its negative, for both twins: four passes of the denoiser.
    low, high : float
        Range of noise levels, as shares of the schedule from 0 (no noise) to 1. A model remembers
        single images at low noise; at high noise it draws what it has learnt of all.
    images : int
        Largest number of images that are used, the first in the order of the record; 0 for all.
    resolution : int
        Side of the images in pixels; 0 takes the model's own.
    batch_size : int
        Pairs of twins that pass the model together. Results do not depend on it.
    seed : int
        Seed of the noise.
    """

    draws: Annotated[int, Meta(ge=1, le=10_000)] = 8
    low: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    high: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.7
    images: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 4
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    def __post_init__(self) -> None:
        """Check the range as well."""
        super().__post_init__()
        if self.low >= self.high:
            raise ConfigError(
                f"TwinsConfig.low is {self.low:g} and high is {self.high:g}; expected low below "
                "high."
            )
