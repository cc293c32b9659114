"""Settings of attribution to a source model, and of shadow models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from siren_ext.config import Config
from siren_ext.errors import ConfigError

DELTA = 0.15
"""Distance ``l2`` up to which the paper counts a key sample as reproduced."""
FALLBACK_RATE = 0.05
"""Share of key samples that an innocent model reproduces, where no innocent model is given: the
paper's 4.3 % (Table 2, one of 23 samples of one model), rounded up."""
FEWEST_INNOCENT = 3
"""Innocent models from which on their rate is measured."""
DistanceName = Literal["l2", "l2_tiled", "pocket", "eff0", "dino", "clip"]


@dataclass(frozen=True)
class SourceConfig(Config):
    """How key samples are chosen, and how models are asked for them.

    The defaults are those of methods that the published text does not give, except where a value is
    named as the paper's.

    Attributes
    ----------
    keys : int
        Largest number of key samples; the paper's N is 30.
    strategy : {"auto", "detection", "generation"}
        ``detection``: training images of the source that it reproduces best. ``generation``:
        captions for which the source makes the same picture again and again. ``auto`` takes the
        first if training images are given.
    query : {"img2img", "t2i"}
        How a model is asked for a key sample: by redrawing the key image with its caption, or by
        the caption alone. All models are asked in the same way, so if one of them can't redraw,
        none is asked to.
    repeats : int
        Redrawn pictures per key sample; the nearest one counts.
    pictures : int
        Pictures per caption by ``t2i`` and by ``generation``; the nearest one counts.
    strength : float
        Strength of ``img2img``: 0 keeps the picture, 1 keeps nothing. At 0.5 small pictures stay
        close to the original, whatever the model knows (docs/attribution.md).
    steps, guidance : int, float
        Steps and guidance of all pictures that are made.
    distance : {"l2", "l2_tiled", "pocket", "eff0", "dino", "clip"}
        ``l2`` is the root mean square difference of colours, ``l2_tiled`` the largest of those of
        16 tiles. The others are 1 minus the cosine of an embedding: of the bundled model's
        autoencoder, EfficientNet-Lite0, or a model in ``embedding``.
    embedding : str
        Folder of the model for ``dino`` and ``clip``.
    resolution : int
        Side in pixels at which pictures are compared; 0 takes the source's own, or 512 if it is not
        on this machine.
    delta : float
        A key sample counts as reproduced up to this distance. 0 chooses it from known models, or
        else takes the paper's 0.15, which holds for ``l2`` only.
    band : float
        Distances that are tried for ``delta`` are multiples of this.
    cluster : float
        By ``generation``, pictures of a caption up to this distance are the same; 0 takes
        ``delta``, or 0.15.
    scan : int
        Largest number of training images that ``detection`` tries.
    margin : float
        A key sample is dropped unless the public base model is farther from it than the source by
        this much.
    alpha : float
        Nothing is accused unless p is below it. p counts key samples: where innocent models differ
        by more than chance, more of them are accused (docs/attribution.md).
    least_confidence : float
        Share of key samples below which nothing is accused, however small p is.
    seed : int
        Seed of all pictures and choices.
    """

    keys: Annotated[int, Meta(ge=2, le=10_000)] = 30
    strategy: Literal["auto", "detection", "generation"] = "auto"
    query: Literal["img2img", "t2i"] = "img2img"
    repeats: Annotated[int, Meta(ge=1, le=1000)] = 4
    pictures: Annotated[int, Meta(ge=2, le=1000)] = 10
    strength: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.75
    steps: Annotated[int, Meta(ge=1, le=1000)] = 50
    guidance: Annotated[float, Meta(ge=0.0, le=100.0)] = 7.5
    distance: DistanceName = "l2"
    embedding: str = ""
    resolution: Annotated[int, Meta(ge=0, le=8192)] = 0
    delta: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    band: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.05
    cluster: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    scan: Annotated[int, Meta(ge=2, le=1_000_000)] = 3000
    margin: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.03
    alpha: Annotated[float, Meta(gt=0.0, lt=0.5)] = 1e-3
    least_confidence: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.3
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0

    def __post_init__(self) -> None:
        """Check every field; raises :class:`ConfigError`."""
        super().__post_init__()
        if self.distance in ("dino", "clip") and not self.embedding:
            raise ConfigError(
                f"SourceConfig.distance is {self.distance}, but embedding does not name a folder "
                "with its weights. Give one, or choose another distance."
            )

    @property
    def embedding_folder(self) -> Path | None:
        """Folder of the embedding's weights; None if none is given."""
        return Path(self.embedding) if self.embedding else None


@dataclass(frozen=True)
class ShadowConfig(Config):
    """How shadow models are used to judge a model.

    Attributes
    ----------
    discriminator : {"logistic", "mlp"}
        ``logistic`` is a regression on the mean and the spread of a model's answers. ``mlp`` reads
        each answer by itself (two layers of 256 and 64), and the mean counts; it needs more models.
    folds : int
        Shadow models are scored by discriminators that have not seen them: the models are split
        into this many parts.
    false_positives : float
        Accepted share of innocent models above the threshold; the paper reports 10 %.
    epochs, patience : int
        Of ``mlp``: most epochs, and those without progress on held-out models after which it stops.
    rate, dropout : float
        Of ``mlp``: learning rate of Adam, and share of inputs that are left out.
    penalty : float
        Of ``logistic``: the weight of the data against the squared penalty.
    seed : int
        Seed of folds and weights.
    """

    discriminator: Literal["logistic", "mlp"] = "logistic"
    folds: Annotated[int, Meta(ge=2, le=100)] = 5
    false_positives: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.1
    epochs: Annotated[int, Meta(ge=1, le=100_000)] = 100
    patience: Annotated[int, Meta(ge=1, le=100_000)] = 10
    rate: Annotated[float, Meta(gt=0.0, le=1.0)] = 1e-3
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.2
    penalty: Annotated[float, Meta(gt=0.0, le=1e6)] = 0.1
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
