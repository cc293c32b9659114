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


METHODS = ("lora", "dreambooth", "full", "textual-inversion", "svdiff", "custom-diffusion")
WORD = "<new1>"
PROMPT = f"a photo of {WORD}"
# high rates, so that a tiny random model learns something in a few steps
RATES = {"full": 3e-3, "dreambooth": 3e-3, "textual-inversion": 0.3, "svdiff": 0.1}


def short(method: str, **changes: Any) -> PersonalizeConfig:
    """Settings of a short run of a method; class images are generated where it needs some."""
    values: dict[str, Any] = {
        "method": method, "prompt": PROMPT, "class_prompt": "a photo of two birds",
        "class_images": 3, "class_steps": 2, "caption_dropout": 0.0, "batch_size": 4,
        "learning_rate": RATES.get(method, 1e-2), "weight_decay": 0.0,
    }  # fmt: skip
    return small(**(values | changes))


def trained(model: Path, data: Any, config: PersonalizeConfig, steps: int) -> Any:
    """A trainer after some steps; its pipeline is the model in memory."""
    from siren_ext.personalize.data import prepare
    from siren_ext.personalize.prior import class_data
    from siren_ext.personalize.run import Trainer
    from siren_ext.progress import NULL

    pipeline = load(model)
    prior = class_data(config, pipeline, None, NULL)
    trainer = Trainer(pipeline, prepare(data, pipeline, config, NULL), config, prior)
    for _ in range(steps):
        trainer.advance()
    return trainer


def picture(pipeline: Any, prompt: str = PROMPT) -> torch.Tensor:
    """A picture of a prompt, from fixed noise."""
    from siren_ext.diffusion import sampling

    with torch.no_grad():
        words = pipelines.encode_prompts(pipeline, [prompt, ""])
        noise = sampling.seeded_noise(pipeline, [1], pipelines.native_size(pipeline))
        latents = sampling.sample_latents(
            pipeline, noise, words[:1], words[1:], steps=3, guidance=3.0
        )
        return pipelines.decode_latents(pipeline, latents, clamp=False)
