"""Settings of passive measurements, the columns of their tables, and the named sets of features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ConfigError

Variant = Literal["default", "paper", "official"]
FeatureSet = Literal["grey", "white", "adapter", "all"]

DIFFERENCE = "diff:"
"""Start of the names of columns that are the suspect's feature minus the control's."""
TIMES = tuple(range(0, 1000, 100))
"""The ten timesteps of the losses and of gradient masking."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "denoising_loss": ("denoising_loss",),
    "secmi": ("secmi",),
    "pia": ("pia",),
    "pian": ("pian",),
    "gradient_masking": tuple(f"masked_{time}" for time in TIMES),
    "multiple_loss": tuple(f"loss_{time}" for time in TIMES),
    "noise_optimisation": ("optimised_loss", "optimised_norm"),
    "mean_loss": ("mean_loss",),
    "caption": (*(f"uncaptioned_{time}" for time in TIMES), "clid"),
    "sima": ("sima",),
    "recover": ("recover", "recover_spread"),
}
"""Columns of each family of features. The first seven are CDI's, in the order of its vector."""

STRENGTHS = (30, 50, 70)
"""Strengths, in percent, at which a suspect redraws pictures."""
LIKENESS = ("patches", "style", *(f"redraw_{strength}" for strength in STRENGTHS))
"""Distances of an image from a suspect's pictures, where only pictures are at hand."""

GRADIENT_FAMILIES = frozenset({"gradient_masking", "noise_optimisation"})
"""Families that differentiate the model."""

_GREY = ("denoising_loss", "secmi", "pia", "pian", "multiple_loss")
_WHITE = tuple(FAMILIES)[:7]
_ADAPTER = (*_GREY, "mean_loss", "caption", "sima", "recover")
FEATURE_SETS: dict[str, tuple[str, ...]] = {
    "grey": _GREY,
    "white": _WHITE,
    "adapter": _ADAPTER,
    "all": tuple(FAMILIES),
}
"""The families of each set that :class:`PassiveConfig` can name."""


@dataclass(frozen=True)
class PassiveConfig(Config):
    """Which features are measured, and how.

    Attributes
    ----------
    features : {"grey", "white", "adapter", "all"}
        ``grey`` has the 14 features of CDI that need predictions only, which is what the default
        evidence reads; ``white`` has all 26.
        ``adapter`` adds to the 14 those that are strong for LoRAs when a control is subtracted.
    variant : {"default", "paper", "official"}
        ``default`` corrects the published code, ``paper`` follows the text, ``official`` repeats
        the code with its errors (docs/passive.md lists them).
    captions : {"own", "none"}
        The text of the model's predictions: each image's caption (or class words, or else the empty
        text), or the empty text for all. The same policy must apply to both sets that are compared.
    resolution : int
        Side of the images in pixels; 0 takes the model's own.
    batch_size : int
        Images that go through the model together; 0 for 8, or 20 if pictures have 128 pixels or
        fewer. Results depend on it with ``official`` only.
    seed : int
        Seed of the noise. The noise of an image depends on the seed and on the image's bytes only.
    """

    features: FeatureSet = "grey"
    variant: Variant = "default"
    captions: Literal["own", "none"] = "own"
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    batch_size: Annotated[int, Meta(ge=0, le=4096)] = 0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    @property
    def families(self) -> tuple[str, ...]:
        """The families of features that are measured, in order."""
        return FEATURE_SETS[self.features]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of one model, in order."""
        return columns_of(self.families)


@dataclass(frozen=True)
class CompletionConfig(Config):
    """How pictures are completed.

    Attributes
    ----------
    count : int
        Pictures of each set; 0 for none.
    steps : int
        Gradient steps.
    rate : float
        Size of a step, in units of the latents.
    weight : float
        How much the difference between suspect and control counts beside the suspect itself.
    """

    count: Annotated[int, Meta(ge=0, le=100)] = 4
    steps: Annotated[int, Meta(ge=2, le=10_000)] = 60
    rate: Annotated[float, Meta(gt=0, le=10)] = 0.1
    weight: Annotated[float, Meta(ge=0, le=100)] = 0.5


@dataclass(frozen=True)
class LikenessConfig(Config):
    """How images are compared with a suspect's pictures.

    Attributes
    ----------
    encoder : str
        The model whose autoencoder gives the patches: pocket, a diffusers folder or a checkpoint.
    resolution : int
        Side in pixels at which pictures are compared; 0 takes the encoder's own.
    nearest : int
        Number of the most similar pictures that count for an image.
    per_image : int
        Pictures that are requested with the caption of each image, if the suspect makes pictures.
    redraws : bool
        Whether the suspect also redraws each image at three strengths, where it can.
    steps, guidance
        Of the pictures that are made; see :class:`siren_ext.suspects.base.PromptPlan`.
    seed : int
        Seed of the pictures that are made.
    """

    encoder: str = "pocket"
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    nearest: Annotated[int, Meta(ge=1, le=1000)] = 3
    per_image: Annotated[int, Meta(ge=1, le=1000)] = 1
    redraws: bool = True
    steps: Annotated[int, Meta(ge=1, le=1000)] = 20
    guidance: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


def columns_of(families: Sequence[str], *, difference: bool = False) -> tuple[str, ...]:
    """The columns of families of features.

    Parameters
    ----------
    families : sequence of str
        Names in :data:`FAMILIES`.
    difference : bool
        Whether to name the columns of the differences from a control.

    Raises
    ------
    ConfigError
        If a name is unknown.
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        raise ConfigError(
            f"There is no family of features {unknown[0]!r}; expected some of "
            f"{', '.join(FAMILIES)}."
        )
    prefix = DIFFERENCE if difference else ""
    return tuple(prefix + column for name in families for column in FAMILIES[name])
