"""Settings of a personalisation run: one model for all methods."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config, preset_values
from siren_ext.errors import ConfigError

Method = Literal[
    "lora", "dreambooth", "full", "textual-inversion", "svdiff", "custom-diffusion"
]  # fmt: skip
RATES: dict[str, float] = {
    "lora": 5e-4,
    "dreambooth": 5e-6,
    "full": 1e-5,
    "textual-inversion": 5e-3,
    "svdiff": 1e-3,
    "custom-diffusion": 1e-5,
}
"""Learning rate of each method: that of its authors, except for LoRA."""
METHODS = tuple(RATES)
"""All methods."""
WITH_PRIOR = ("dreambooth", "custom-diffusion")
"""Methods that also train on class images."""
WITH_TOKEN = ("textual-inversion", "custom-diffusion")
"""Methods that learn a new word."""
WITH_TEXT_ENCODER = ("lora", "dreambooth", "full")
"""Methods that can train the weights of the text encoder."""
WHOLE_MODELS = ("dreambooth", "full")
"""Methods that write a whole model."""
FOLDERS = (*WHOLE_MODELS, "custom-diffusion")
"""Methods that write a folder; the others write a file."""
_LATER = (
    "method", "class_prompt", "class_images", "class_steps", "class_guidance", "prior_weight",
    "token", "token_vectors", "token_start",
)  # fmt: skip


@dataclass(frozen=True)
class PersonalizeConfig(Config):
    """How a model is personalised with a set of images.

    ``docs/personalize.md`` says what each method trains and writes.

    Attributes
    ----------
    method : str
        ``lora``; ``dreambooth``, which trains every weight, with prior preservation (Ruiz et al.
        2023, arXiv 2208.12242); ``full``, which trains every weight; ``textual-inversion`` (Gal et
        al. 2023, arXiv 2208.01618); ``svdiff`` (Han et al. 2023, arXiv 2303.11305); or
        ``custom-diffusion`` (Kumari et al. 2023, arXiv 2212.04488).
    steps, batch_size : int
        Number of training steps, and of images in each.
    rank, alpha : int, float
        For the linear layers and 1x1 convolutions in the transformer blocks (kohya's
        ``network_dim`` and ``network_alpha``).
    conv_rank, conv_alpha : int, float
        For the 3x3 convolutions (kohya's ``conv_dim`` and ``conv_alpha``); rank 0 leaves them out.
    learning_rate : float
        Peak learning rate of AdamW; 0 takes the method's own, see :data:`RATES`.
    schedule : {"constant", "cosine"}
        Learning rate after ``warmup`` steps of linear increase.
    weight_decay : float
        Weight decay of AdamW.
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
        Also train the text encoder: ``lora``, ``dreambooth`` and ``full`` only.
    snr_gamma : float
        Gamma of the Min-SNR weighting (Hang et al. 2023, arXiv 2303.09556); 0 for none.
    accumulation : int
        Split each batch into this many parts, to save memory. Each part draws its own noise, so
        the result differs a little from that of a whole batch.
    gradient_checkpointing : bool
        Compute activations twice, to save memory.
    precision : {"auto", "float32", "bfloat16"}
        Number format of the frozen model. The trained weights are always float32.
    save_precision : {"float32", "float16", "bfloat16"}
        Number format of the file.
    seed : int
        Seed of all random numbers.
    class_prompt : str | None
        What the class images show, such as ``a photo of a dog``, for ``dreambooth`` and
        ``custom-diffusion``. They are generated with it if none are given, and trained with it;
        None takes the captions of given images.
    class_images : int
        Number of class images to generate if none are given.
    class_steps, class_guidance : int, float
        DDIM steps and guidance of generated class images.
    prior_weight : float
        Weight of the class images in the loss; 0 leaves them out.
    token : str
        The new word of ``textual-inversion`` and ``custom-diffusion``; captions must contain it.
    token_vectors : int
        Number of vectors of the new word.
    token_start : str
        The known word whose vector the new word starts from; empty for the mean of all vectors.
    """

    steps: Annotated[int, Meta(ge=1, le=10_000_000)] = 400
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 16
    rank: Annotated[int, Meta(ge=1, le=4096)] = 32
    alpha: Annotated[float, Meta(ge=1e-6, le=1e6)] = 32.0
    conv_rank: Annotated[int, Meta(ge=0, le=4096)] = 16
    conv_alpha: Annotated[float, Meta(ge=1e-6, le=1e6)] = 16.0
    learning_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
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
    method: Method = "lora"
    class_prompt: str | None = None
    class_images: Annotated[int, Meta(ge=1, le=100_000)] = 100
    class_steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    class_guidance: Annotated[float, Meta(ge=0.0, le=100.0)] = 7.5
    prior_weight: Annotated[float, Meta(ge=0.0, le=1e3)] = 1.0
    token: str = "<new1>"
    token_vectors: Annotated[int, Meta(ge=1, le=64)] = 1
    token_start: str = ""

    def __post_init__(self) -> None:
        """Check every field and fill in the learning rate; raises :class:`ConfigError`."""
        super().__post_init__()
        if not self.learning_rate:
            object.__setattr__(self, "learning_rate", RATES[self.method])
        if self.train_text_encoder and self.method not in WITH_TEXT_ENCODER:
            raise ConfigError(
                f"PersonalizeConfig.train_text_encoder is on, but the method {self.method} does "
                f"not train the text encoder; expected one of {', '.join(WITH_TEXT_ENCODER)}. "
                "Turn it off, or choose one of these methods."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name; settings of later versions only where they are not the default.

        So the records of LoRA runs, and the hashes in them, stay what they were before there were
        other methods.
        """
        default = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in super().to_dict().items()
            if name not in _LATER or value != default[name]
        }

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
