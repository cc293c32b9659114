"""Settings of a coater: network sizes and strength of the coating, with presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config, preset_values
from siren_ext.errors import ConfigError

MAX_MAP = 1 << 26
"""Most numbers in a network's map of one image: 64 channels of 1024 x 1024 pixels, 256 MB. A coater
file of a few megabytes could otherwise ask for 8 GB for each image."""


@dataclass(frozen=True)
class CoaterConfig(Config):
    """Settings of a coater.

    Attributes
    ----------
    channels, generator_blocks, extractor_blocks : int
        Network sizes; 64, 4 and 8 in the paper.
    bits : int
        Constant message channels of the generator; 0 leaves them out, as the paper describes it.
    features : int
        Number of features, which is the dimension of the hypersphere.
    head : {"sphere", "binary"}
        Score by distance to a centre, or by a single logit (an ablation).
    feature_layer : {"linear", "pool"}
        Whether the extractor ends with its linear layer, or with the pooled features as the paper
        describes it.
    norm : {"image", "running"}
        Normalise with the statistics of each image, so that scores do not depend on batching, or
        with running averages (an ablation).
    working_size : int
        Side in pixels to which images are resized for both networks.
    strength : float
        Largest change in units of the visibility mask, in ImageNet-normalised space.
    min_psnr : float
        Lowest PSNR of a coated image in dB; a stronger coating is scaled down, image by image. 0
        sets no limit.
    coarse : float
        Largest colour difference (CIEDE2000) of a pattern of coarse colour that is the same for
        every image, or for every bit of a key, and that the extractor reads position by position.
        0 leaves it out, as in the paper.
    message_bits : int
        Above 0 the coater is keyed: each coating carries a message of this many bits, which comes
        from a key, and the extractor gives one feature per bit; ``bits``, ``features``,
        ``feature_layer`` and ``norm`` have no effect. 0 gives one coating for all.
    """

    channels: Annotated[int, Meta(ge=4, le=512)] = 32
    generator_blocks: Annotated[int, Meta(ge=1, le=16)] = 4
    extractor_blocks: Annotated[int, Meta(ge=1, le=32)] = 8
    bits: Annotated[int, Meta(ge=0, le=256)] = 48
    features: Annotated[int, Meta(ge=1, le=512)] = 48
    head: Literal["sphere", "binary"] = "sphere"
    feature_layer: Literal["linear", "pool"] = "linear"
    norm: Literal["image", "running"] = "image"
    working_size: Annotated[int, Meta(ge=16, le=2048)] = 256
    strength: Annotated[float, Meta(ge=0.01, le=50)] = 3.0
    min_psnr: Annotated[float, Meta(ge=0, le=80)] = 38.0
    coarse: Annotated[float, Meta(ge=0, le=50)] = 0.0
    message_bits: Annotated[int, Meta(ge=0, le=512)] = 0

    def __post_init__(self) -> None:
        """Also check that the settings go together."""
        super().__post_init__()
        if self.head == "binary" and self.feature_layer == "pool":
            raise ConfigError("A binary head needs feature_layer 'linear'; found 'pool'.")
        if self.channels * self.working_size**2 > MAX_MAP:
            raise ConfigError(
                f"The coater has {self.channels} channels at {self.working_size} x "
                f"{self.working_size} pixels, {self.channels * self.working_size**2:,} numbers for "
                f"each image; expected at most {MAX_MAP:,}. Lower channels or working_size."
            )
        if self.message_bits and (self.head != "sphere" or self.channels % 4):
            raise ConfigError(
                f"A keyed coater (message_bits = {self.message_bits}) needs head 'sphere' and a "
                f"multiple of 4 channels; found {self.head!r} and {self.channels}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; newer settings only if set, so that fingerprints of old files stay."""
        values = super().to_dict()
        for name in ("message_bits", "coarse"):
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> CoaterConfig:
        """Settings of a preset, some of them changed.

        Parameters
        ----------
        name : {"default", "coarse", "keyed", "official", "paper"}
            ``coarse`` adds a pattern of coarse colour, and ``keyed`` one for each of 48 bits;
            ``official`` has the network sizes of the published weights; ``paper`` has the networks
            as the paper describes them, without message and last layer.
        **changes
            Settings to change.

        Raises
        ------
        ConfigError
            If a name is unknown or a value out of range.
        """
        return cls.from_dict(preset_values(PRESETS, name) | changes)


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "coarse": {"coarse": 2.0},
    "keyed": {
        "coarse": 2.0,
        "message_bits": 48,
        "generator_blocks": 2,
        "extractor_blocks": 5,
    },
    "official": {
        "channels": 64,
        "generator_blocks": 4,
        "extractor_blocks": 8,
        "bits": 48,
        "features": 48,
        "head": "sphere",
        "feature_layer": "linear",
        "norm": "image",
        "working_size": 512,
        "strength": 1.5,
        "min_psnr": 0.0,
    },
}
PRESETS["paper"] = PRESETS["official"] | {"bits": 0, "feature_layer": "pool"}
