"""Settings of coater training, with their presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

from siren_ext.config import Config, preset_values
from siren_ext.errors import ConfigError

_NEWER = {
    "rehearse_first": 0,
    "rehearse_rounds": 6,
    "order": "random",
    "mirror": True,
    "rounding": True,
    "official_distortions": False,
}
"""Settings that came later, with the value that says what runs did before."""

StepCount = Annotated[int, Meta(ge=0, le=10_000_000)]
BatchSize = Annotated[int, Meta(ge=1, le=1024)]
ImageCount = Annotated[int, Meta(ge=0, le=1024)]
Interval = Annotated[int, Meta(ge=0, le=1_000_000)]
Rate = Annotated[float, Meta(ge=1e-8, le=1)]
Weight = Annotated[float, Meta(ge=0, le=1e4)]


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a coater is trained.

    Attributes
    ----------
    objective : str
        ``budget`` limits how visible the coating is by its mask and ``CoaterConfig.min_psnr``
        and spends what these allow on detection, with a penalty on visible tints; ``published``
        is the weighted sum of SIREN's code with its image ramp; ``sum`` the plain sum of SIREN's
        Eq. 7. The latter two share the code's schedule: distortions begin once detection is learnt.
    steps : int
        Optimisation steps; with 0, a coater with coarse colour is fitted but not trained.
    batch_size : int
        Images per step.
    order : str
        Which images a step takes. ``random``: drawn at every step. ``shuffled``: each once per
        epoch, in a new random order. ``listed``: each once per epoch, in the order of the set
        (SIREN's code).
    mirror : bool
        Mirror half of the images, at random.
    rounding : bool
        Train on coated images as an 8-bit file stores them, clamped to [0,1] and rounded, and
        let the gradient ignore both. Off: neither clamped nor rounded (SIREN's code).
    learning_rate : float
        Learning rate of the generator; ``extractor_rate`` that of the extractor (AdamW).
    warmup : int
        Number of first steps with detection alone, without distortions and diffusion terms.
        With every term from the first step on, nothing is learnt.
    sphere : str
        ``huber`` (published code) or ``radius`` (paper, Eq. 5 and 6).
    nu : float
        Share of coated images allowed outside the sphere of the radius form.
    learn_images : int
        Images per step in the learnability term; ``learn_draws`` noise levels each.
    learn_weight, colour_weight, tint_weight, mse_weight : float
        Weights of their terms.
    tint_limit : float
        Blurred colour difference (CIEDE2000) below which the tint term is 0.
    official_lab : bool
        Use the published code's Lab scale (62 times smaller loss).
    distort : bool
        Photometric distortions before the extractor; ``geometric`` adds crops and mirrors.
    official_distortions : bool
        Distortions with the slips of SIREN's code, see :mod:`siren_ext.training.distortions`.
    round_trips : int
        Images per step that pass the autoencoder before the extractor.
    denoised : int
        Images per step that are noised and denoised by the surrogate before it.
    noise_low, noise_high : int
        Range of that noise, in steps of the noise schedule (0 to 999).
    rehearse_every : int
        Steps between rehearsed infringements (0: none). A copy of the surrogate learns from
        coated images meanwhile, and the extractor sees what it generates.
    rehearse_steps : int
        Fine-tuning steps of that copy each time.
    rehearse_first : int
        The same, the first time; 0 for four times as many as later.
    rehearse_images : int
        Pictures generated each time.
    rehearse_rounds : int
        Rehearsals of a keyed coater after which the copies start over with another message.
    seed : int
        Seed of every draw.
    """

    objective: Literal["budget", "published", "sum"] = "budget"
    steps: StepCount = 300
    batch_size: BatchSize = 16
    learning_rate: Rate = 1e-3
    extractor_rate: Rate = 1e-3
    warmup: Interval = 100
    sphere: Literal["huber", "radius"] = "huber"
    nu: Annotated[float, Meta(ge=1e-4, le=1)] = 0.1
    learn_images: ImageCount = 4
    learn_draws: Annotated[int, Meta(ge=1, le=100)] = 1
    learn_weight: Weight = 1.0
    colour_weight: Weight = 0.0
    mse_weight: Weight = 0.0
    tint_weight: Weight = 0.5
    tint_limit: Annotated[float, Meta(ge=0, le=100)] = 1.5
    official_lab: bool = False
    distort: bool = True
    geometric: bool = False
    round_trips: ImageCount = 2
    denoised: ImageCount = 4
    noise_low: Annotated[int, Meta(ge=0, le=999)] = 50
    noise_high: Annotated[int, Meta(ge=1, le=1000)] = 500
    rehearse_every: Interval = 20
    rehearse_steps: Annotated[int, Meta(ge=0, le=100_000)] = 12
    rehearse_first: Annotated[int, Meta(ge=0, le=100_000)] = 0
    rehearse_images: Annotated[int, Meta(ge=1, le=10_000)] = 24
    rehearse_rounds: Annotated[int, Meta(ge=1, le=1_000_000)] = 6
    order: Literal["random", "shuffled", "listed"] = "random"
    mirror: bool = True
    rounding: bool = True
    official_distortions: bool = False
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0

    def __post_init__(self) -> None:
        """Also check that the noise range is one; raises :class:`ConfigError`."""
        super().__post_init__()
        if self.noise_low >= self.noise_high:
            raise ConfigError(
                f"TrainConfig.noise_low is {self.noise_low}; expected less than noise_high, which "
                f"is {self.noise_high}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; newer settings only if changed, so that older runs can be resumed."""
        values = super().to_dict()
        return {name: value for name, value in values.items() if value != _NEWER.get(name, ...)}

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> TrainConfig:
        """Settings by name, with single ones changed; raises :class:`ConfigError`.

        ``default``; ``coarse`` and ``keyed``, which leave a coater of the same preset as it is
        fitted; ``official``, what SIREN's code does, with the differences that
        ``docs/official_preset.md`` lists; ``paper``, what its text says (radius form of the
        hypersphere, true CIE Lab, plain sum of the terms). The latter two are meant for
        :data:`PUBLISHED_EPOCHS` passes over the images: give ``steps``.
        """
        return cls.from_dict(preset_values(PRESETS, name) | changes)


PUBLISHED_EPOCHS = 60

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "coarse": {"steps": 0, "rehearse_every": 0},
    "keyed": {"steps": 0, "rehearse_every": 0},
    "official": {
        "objective": "published",
        "batch_size": 1,
        "learning_rate": 1e-3,
        "extractor_rate": 1e-4,
        "warmup": 0,
        "sphere": "huber",
        "learn_images": 1,
        "learn_draws": 1,
        "learn_weight": 1.0,
        "colour_weight": 1e-3,
        "mse_weight": 1.0,
        "tint_weight": 0.0,
        "official_lab": True,
        "distort": True,
        "official_distortions": True,
        "geometric": False,
        "round_trips": 0,
        "denoised": 0,
        "rehearse_every": 0,
        "order": "listed",
        "mirror": False,
        "rounding": False,
    },
}
PRESETS["paper"] = PRESETS["official"] | {
    "objective": "sum",
    "sphere": "radius",
    "nu": 0.1,
    "colour_weight": 1.0,
    "official_lab": False,
    "official_distortions": False,
    "order": "shuffled",
}
