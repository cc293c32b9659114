"""Settings of a personalisation run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config, preset_values


@dataclass(frozen=True)
class PersonalizeConfig(Config):
    """How a LoRA is trained on a set of images.

    ``steps`` of ``batch_size`` images. ``rank`` and ``alpha`` are those of the linear layers and
    1x1 convolutions in the transformer blocks (kohya's ``network_dim`` and ``network_alpha``);
    ``conv_rank`` and ``conv_alpha`` those of the 3x3 convolutions (``conv_dim``, ``conv_alpha``;
    0: none). ``resolution`` is the side in pixels, 0 the model's own. ``prompt`` is one caption for
    all, in which ``{class}`` stands for the class words of the folder; without it each image's own
    caption. ``caption_dropout``: share of captions replaced by the empty text. ``flip``: mirror
    images at random. ``schedule`` follows ``warmup`` linear steps. ``accumulation`` splits a batch
    into that many pieces to save memory, as does ``gradient_checkpointing``. ``precision``:
    auto, float32 or bfloat16; the trained numbers are float32 in any case. ``snr_gamma``: Min-SNR
    weighting (Hang et al. 2023), 0 for none.
    """

    steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 400
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 16
    rank: Annotated[int, Meta(ge=1, le=4096)] = 32
    alpha: Annotated[float, Meta(ge=1e-6, le=1e6)] = 32.0
    conv_rank: Annotated[int, Meta(ge=0, le=4096)] = 16
    conv_alpha: Annotated[float, Meta(ge=1e-6, le=1e6)] = 16.0
    learning_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 5e-4
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    weight_decay: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.01
    max_grad_norm: Annotated[float, Meta(ge=0.0, le=1e6)] = 1.0
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    prompt: str | None = None
    caption_dropout: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    flip: bool = True
    train_text_encoder: bool = False
    snr_gamma: Annotated[float, Meta(ge=0.0, le=1e3)] = 0.0
    accumulation: Annotated[int, Meta(ge=1, le=4096)] = 1
    gradient_checkpointing: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    save_precision: Literal["float32", "float16", "bfloat16"] = "float32"
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    @classmethod
    def preset(cls, name: str, images: int, /, **changes: Any) -> PersonalizeConfig:
        """Settings of the surrogate that goes with a preset of coater training.

        Parameters
        ----------
        name : {"default", "coarse", "keyed", "official", "paper"}
            ``official`` is the kohya recipe of SIREN's code: rank 64 and alpha 1, text encoder
            included, 1e-4, batches of 4, 80 epochs (:data:`EPOCHS`); ``paper`` has rank and alpha
            64 and the paper's 30 epochs, of which it says no more. The others are all defaults.
        images : int
            Images of an epoch, which with the batch size gives the steps.
        **changes
            Settings to change.

        Raises
        ------
        ConfigError
            If a name is unknown or a value out of range.
        """
        chosen = cls.from_dict(preset_values(PRESETS, name) | changes)
        if name not in EPOCHS or "steps" in changes:
            return chosen
        steps = max(1, math.ceil(EPOCHS[name] * images / chosen.batch_size))
        return replace(chosen, steps=steps)


EPOCHS = {"official": 80, "paper": 30}
"""Passes over the images in the published presets."""

_KOHYA: dict[str, Any] = {
    "batch_size": 4,
    "rank": 64,
    "alpha": 1.0,
    "conv_rank": 0,
    "learning_rate": 1e-4,
    "schedule": "constant",
    "warmup": 0,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "flip": False,
    "train_text_encoder": True,
    "gradient_checkpointing": True,
}
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "coarse": {},
    "keyed": {},
    "official": _KOHYA,
    "paper": _KOHYA | {"alpha": 64.0},
}
