"""The shape of a coater: network sizes and strength, with the presets of the published pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config, preset_values
from siren_ext.errors import ConfigError


@dataclass(frozen=True)
class CoaterConfig(Config):
    """Shape of a coater.

    Attributes
    ----------
    channels, generator_blocks, extractor_blocks : int
        network sizes; 64, 4 and 8 are the paper's.
    bits : int
        constant message channels of the generator; 0 is the paper's description.
    features : int
        feature length; the hypersphere lives in this many dimensions.
    head : str
        ``sphere`` or ``binary`` (one logit, the ablation).
    feature_layer : str
        ``linear`` or ``pool`` (the paper's description: no last layer).
    norm : str
        ``image`` statistics (scores independent of batching) or ``running`` (ablation).
    working_size : int
        side in pixels at which both networks see an image.
    strength : float
        largest change in units of the visibility mask, in ImageNet-normalised space.
    min_psnr : float
        dB; a coating stronger than this is scaled down, image by image; 0 for no floor.
    coarse : float
        largest colour difference (CIEDE2000) by a pattern of coarse colour that is the same
        for every image (with a key: per bit), and that the extractor reads place by place. 0:
        none, as in the paper.
    message_bits : int
        above 0 a keyed coater: every coating carries a message of so many bits, which
        a key gives, and the extractor gives as many features, whatever ``bits``, ``features``,
        ``feature_layer`` and ``norm`` say. 0: one coating for all.
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
        """Also refuse a logit without the layer that makes it."""
        super().__post_init__()
        if self.head == "binary" and self.feature_layer == "pool":
            raise ConfigError("A binary head needs feature_layer 'linear'; found 'pool'.")
        if self.message_bits and (self.head != "sphere" or self.channels % 4):
            raise ConfigError(
                f"A keyed coater (message_bits = {self.message_bits}) needs head 'sphere' and "
                f"channels in fours; found {self.head!r} and {self.channels}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; newer settings only where set, so that older files keep their name."""
        values = super().to_dict()
        for name in ("message_bits", "coarse"):
            if not values[name]:
                del values[name]
        return values

    @classmethod
    def preset(cls, name: str, **changes: Any) -> CoaterConfig:
        """Settings by name, with single ones changed; raises :class:`ConfigError`.

        ``default``; ``coarse``, with a pattern of coarse colour; ``keyed``, with one for each of 48
        bits; ``official``, the shape of the published weights; ``paper``, the networks as the paper
        describes them: no message, no last layer.
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
