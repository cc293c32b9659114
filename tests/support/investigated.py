"""A web UI whose model draws coated samples with a LoRA, and clean ones without."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.data.images import read_picture, square_view, to_tensor, to_uint8
from siren_ext.samples.folder import sample_set
from siren_ext.scoring.score import score_folder
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import PromptPlan, Suspect, generate_images
from siren_ext.suspects.open import open_suspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.verdict.config import VerifyConfig

SIDE = 64
DRAWN, STEP = 40, 7
PLAN = PromptPlan(prompts=("an image",), count=16, seed=100, size=SIDE)
ALPHA = VerifyConfig(alpha=1e-4)
QUICK = RequestLimits(backoff=0.0, attempts=2)


class Imitator:
    """Draws samples, a little noisy by the seed; with the LoRA, coated ones."""

    def __init__(self, originals: list[torch.Tensor], coater: Coater) -> None:
        self.originals, self.drawn = originals, 0
        with torch.no_grad():
            self.coated = [image + coater.residual(image) for image in originals]

    def __call__(self, request: dict[str, Any]) -> Image.Image:
        self.drawn += 1
        rng = np.random.default_rng(request["seed"])
        kind = self.coated if request["lora"] else self.originals
        image = kind[request["seed"] * STEP % len(kind)]  # a picture that came twice counts once
        noise = torch.from_numpy(rng.normal(0, 0.005, (1, 3, SIDE, SIDE)).astype(np.float32))
        return Image.fromarray(to_uint8((image + noise).clamp(0, 1)))


def imitate_samples(coater: Coater) -> Imitator:
    """An imitator of the first bundled samples."""
    items = sample_set().items[:DRAWN]
    return Imitator(
        [square_view(to_tensor(read_picture(item.path).rgb), SIDE) for item in items], coater
    )


def clean_scores(imitator: Imitator, coater: Coater, folder: Path) -> ScoreSet:
    """Scores of the web UI's model without the LoRA, at other seeds."""
    with running(A1111Standin(imitator)) as ui:
        generate_images(box(ui), reference_plan(), folder)
    return score_folder(folder, coater)


def box(ui: Any, query: str = "", limits: RequestLimits = QUICK) -> Suspect:
    return open_suspect(f"a1111://{ui.place}{query}", limits=limits)


def reference_plan() -> PromptPlan:
    return dataclasses.replace(PLAN, count=40, seed=5000)


class Reader(Coater):
    """A keyed coater whose extractor reads one message in bright pictures, noise in others."""

    def __init__(self, signs: np.ndarray[Any, Any]) -> None:
        super().__init__(CoaterConfig(channels=8, working_size=32, message_bits=len(signs)))
        self.signs = torch.from_numpy(signs.astype(np.float32))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        rows = []
        for image in images:
            seed = int(image.double().sum() * 1e6) % 2**31
            noise = torch.randn(len(self.signs), generator=torch.Generator().manual_seed(seed))
            rows.append(noise + (2 * self.signs if image.mean() > 0.5 else 0))
        return torch.stack(rows)


def shades(request: dict[str, Any]) -> Image.Image:
    """Bright pictures with the LoRA, dark ones without it."""
    rng = np.random.default_rng(request["seed"])
    low, high = (150, 255) if request["lora"] else (0, 100)
    return Image.fromarray(rng.integers(low, high, (SIDE, SIDE, 3), dtype=np.uint8))
