"""Settings, stops and models for short personalisation runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from siren_ext.diffusion import pipelines
from siren_ext.errors import Cancelled
from siren_ext.personalize.config import PersonalizeConfig
from siren_ext.progress import Progress

SMALL = PersonalizeConfig(
    steps=6, batch_size=3, rank=4, alpha=4.0, conv_rank=2, conv_alpha=1.0, precision="float32",
    learning_rate=1e-2, warmup=2, caption_dropout=0.2,
)  # fmt: skip


def small(**changes: Any) -> PersonalizeConfig:
    return PersonalizeConfig.from_dict(SMALL.to_dict() | changes)


class StopAt(Progress):
    """Cancels (or fails hard) once so many training steps are done."""

    def __init__(self, steps: int, error: type[BaseException] = Cancelled) -> None:
        super().__init__()
        self.left, self.error, self.training = steps, error, False
        self.notes: list[str] = []

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.training = label == "Personalising"
        self.done = done

    def advance(self, units: int = 1, note: str = "") -> None:
        if self.training:
            self.notes.append(note)
            self.left -= 1
            if self.left == 0:
                raise self.error("stopped")


def load(model: Path, dtype: torch.dtype = torch.float32) -> Any:
    return pipelines.load_pipeline(model, device="cpu", dtype=dtype)
