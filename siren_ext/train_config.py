"""Settings of coater training, with the presets ``default``, ``official`` and ``paper``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from siren_ext.config import Config


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a coater is trained.

    Attributes:
        objective: ``budget`` fixes the coating's strength (see ``CoaterConfig.min_psnr``) and spends
            it on detection, with a penalty on visible tints; ``published`` is SIREN's weighted sum
            with its image ramp.
        steps: optimisation steps.
        batch_size: images per step.
        learning_rate: of the generator; ``extractor_rate`` of the extractor (AdamW).
        warmup: first steps with detection alone: no distortions, no diffusion terms. With every
            term on from the start nothing is learnt.
        sphere: ``huber`` (published code) or ``radius`` (paper, Eq. 5 and 6).
        nu: share of positives outside the radius form's sphere.
        learn_images: images per step in the learnability term; ``learn_draws`` noise levels each.
        learn_weight, colour_weight, tint_weight, mse_weight: weights of their terms.
        tint_limit: CIEDE2000 units of blurred difference that cost nothing.
        official_lab: use the published code's Lab scale (62 times smaller loss).
        distort: photometric distortions before the extractor; ``geometric`` adds crops, mirrors.
        round_trips: images per step that pass the autoencoder before the extractor.
        denoised: images per step that are noised and denoised by the surrogate before it.
        noise_low, noise_high: range of that noise, in schedule steps.
        rehearse_every: steps between rehearsed infringements (0: none): a copy of the surrogate
            keeps learning from coated images, and the extractor sees what it generates.
        rehearse_steps: fine-tuning steps of that copy each time.
        rehearse_images: mimicries made each time.
        seed: of every draw.
    """

    objective: str = "budget"
    steps: int = 600
    batch_size: int = 16
    learning_rate: float = 1e-3
    extractor_rate: float = 1e-3
    warmup: int = 100
    sphere: str = "huber"
    nu: float = 0.1
    learn_images: int = 4
    learn_draws: int = 1
    learn_weight: float = 1.0
    colour_weight: float = 0.0
    mse_weight: float = 0.0
    tint_weight: float = 0.1
    tint_limit: float = 1.5
    official_lab: bool = False
    distort: bool = True
    geometric: bool = False
    round_trips: int = 2
    denoised: int = 4
    noise_low: int = 50
    noise_high: int = 500
    rehearse_every: int = 0
    rehearse_steps: int = 20
    rehearse_images: int = 16
    seed: int = 0

    bounds: ClassVar[dict[str, tuple[float, float]]] = {
        "steps": (1, 10_000_000),
        "batch_size": (1, 1024),
        "learning_rate": (1e-8, 1),
        "extractor_rate": (1e-8, 1),
        "warmup": (0, 1_000_000),
        "nu": (1e-4, 1),
        "learn_images": (0, 1024),
        "learn_draws": (1, 100),
        "learn_weight": (0, 1e4),
        "colour_weight": (0, 1e4),
        "mse_weight": (0, 1e4),
        "tint_weight": (0, 1e4),
        "tint_limit": (0, 100),
        "round_trips": (0, 1024),
        "denoised": (0, 1024),
        "noise_low": (0, 999),
        "noise_high": (1, 1000),
        "rehearse_every": (0, 1_000_000),
        "rehearse_steps": (0, 100_000),
        "rehearse_images": (1, 10_000),
    }
    choices: ClassVar[dict[str, tuple[Any, ...]]] = {
        "objective": ("budget", "published"),
        "sphere": ("huber", "radius"),
    }
