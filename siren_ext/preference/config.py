"""Settings of preference evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ConfigError


@dataclass(frozen=True)
class PreferenceConfig(Config):
    """How to measure what a model has learnt of a message.

    Attributes
    ----------
    draws : int
        Noise levels per image. They are spread evenly over the schedule between ``low`` and
        ``high``; cost grows in proportion.
    low, high : float
        Range of noise levels, as shares of the schedule from 0 (no noise) to 1. The first tenth
        shows coatings best (``docs/preference.md``).
    images : int
        Largest number of the owner's images that are used, the first in order; 0 for all.
    resolution : int
        Side of the images in pixels; 0 takes the model's own.
    batch_size : int
        Images that go through the model together. Results do not depend on it.
    seed : int
        Seed of the noise.
    mirrored : bool
        Read symmetric coatings along symmetric patterns; false for measurements of versions before
        this setting.
    removed : bool
        If there is a control, compare with what the base model removes of the coating's patterns
        (:func:`siren_ext.preference.patterns.removed_patterns`). Without one, what a model makes of
        the images themselves weighs most in those patterns, so whole patterns are read. False
        always reads whole patterns, as versions before this setting do.
    whole : bool
        Record the learnt field, so that a key is tested by whole changes and bits together
        (:mod:`siren_ext.preference.changes`). False tests the bits alone, as versions before this
        setting do. The base model is asked for this and for ``removed``, which takes as long as
        576 more passes.
    """

    draws: Annotated[int, Meta(ge=1, le=10_000)] = 4
    low: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    high: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    images: Annotated[int, Meta(ge=0, le=1_000_000)] = 128
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 8
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    mirrored: bool = True
    removed: bool = True
    whole: bool = True

    def __post_init__(self) -> None:
        """Check the range as well."""
        super().__post_init__()
        if self.low >= self.high:
            raise ConfigError(
                f"PreferenceConfig.low is {self.low:g} and high is {self.high:g}; expected low "
                "below high."
            )
