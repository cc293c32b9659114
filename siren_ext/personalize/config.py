"""Settings of a personalisation run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from siren_ext.config import Config


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
