"""Settings of a personalisation run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

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

    steps: int = 400
    batch_size: int = 16
    rank: int = 32
    alpha: float = 32.0
    conv_rank: int = 16
    conv_alpha: float = 16.0
    learning_rate: float = 5e-4
    schedule: str = "constant"
    warmup: int = 10
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    resolution: int = 0
    prompt: str | None = None
    caption_dropout: float = 0.0
    flip: bool = True
    train_text_encoder: bool = False
    snr_gamma: float = 0.0
    accumulation: int = 1
    gradient_checkpointing: bool = False
    precision: str = "auto"
    save_precision: str = "float32"
    seed: int = 0

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 10_000_000),
        "batch_size": (1, 4096),
        "rank": (1, 4096),
        "alpha": (1e-6, 1e6),
        "conv_rank": (0, 4096),
        "conv_alpha": (1e-6, 1e6),
        "learning_rate": (0.0, 1.0),
        "warmup": (0, 1_000_000),
        "weight_decay": (0.0, 1.0),
        "max_grad_norm": (0.0, 1e6),
        "resolution": (0, 8192),
        "caption_dropout": (0.0, 1.0),
        "snr_gamma": (0.0, 1e3),
        "accumulation": (1, 4096),
        "seed": (0, 2**31 - 1),
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "schedule": ("constant", "cosine"),
        "precision": ("auto", "float32", "bfloat16"),
        "save_precision": ("float32", "float16", "bfloat16"),
    }
