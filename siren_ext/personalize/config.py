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

    Attributes
    ----------
    steps, batch_size : int
        Number of training steps, and of images in each.
    rank, alpha : int, float
        Of the linear layers and 1x1 convolutions in the transformer blocks (kohya's ``network_dim``
        and ``network_alpha``).
    conv_rank, conv_alpha : int, float
        Of the 3x3 convolutions (kohya's ``conv_dim`` and ``conv_alpha``); rank 0 leaves them out.
    learning_rate : float
        Peak learning rate of AdamW.
    schedule : {"constant", "cosine"}
        Learning rate after ``warmup`` steps of linear increase.
    weight_decay : float
        Of AdamW.
    max_grad_norm : float
        Largest norm of the gradient; 0 for no limit.
    resolution : int
        Side of the images in pixels; 0 takes the model's own.
    prompt : str | None
        One caption for all images, in which ``{class}`` is replaced by the class words of the
        folder. None takes each image's own caption.
    caption_dropout : float
        Share of captions that are replaced by the empty text.
    flip : bool
        Mirror images at random.
    train_text_encoder : bool
        Also train the text encoder.
    snr_gamma : float
        Gamma of the Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556); 0 for none.
    accumulation : int
        Split each batch into this many parts, to save memory.
    gradient_checkpointing : bool
        Compute activations twice, to save memory.
    precision : {"auto", "float32", "bfloat16"}
        Number format of the frozen model. The trained weights are always float32.
    save_precision : {"float32", "float16", "bfloat16"}
        Number format of the file.
    seed : int
        Seed of all random numbers.
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
            ``official`` is the kohya recipe of SIREN's code: rank 64 and alpha 1, including the
            text encoder, learning rate 1e-4, batches of 4, 80 epochs. ``paper`` has rank and alpha
            64 and the paper's 30 epochs; the paper gives no other settings. The others are the
            defaults.
        images : int
            Images per epoch, from which the number of steps is calculated.
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
