"""A suspect on this machine: a diffusion model, perhaps with an adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext import pipelines
from siren_ext.adapters import AdapterSummary, load_adapter, read_summary
from siren_ext.devices import pick_device, pick_dtype
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.model_files import Pipeline
from siren_ext.progress import NULL, Progress
from siren_ext.sampling import sample_latents, seeded_noise
from siren_ext.suspects.base import Mimicry, PromptPlan

_PROBE_PROMPT = "an image"
_SMALLEST_CHANGE = 1e-6


class LocalSuspect:
    """Pictures of a local model by DDIM; loading happens when the first picture is asked for.

    ``model``: ``pocket``, a diffusers folder or a single-file checkpoint. ``adapter``: a kohya LoRA
    that is merged at strength ``scale``. Picture i is a function of ``plan.seed + i``: its noise
    doesn't depend on the batch, and batches are cut at fixed places, so a resumed plan gives the
    same pictures bit for bit (another ``batch_size`` may change last bits of some).
    """

    def __init__(
        self,
        model: str | Path,
        adapter: Path | None = None,
        *,
        scale: float = 1.0,
        device: str = "auto",
        dtype: torch.dtype | None = None,
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected 1 or more.")
        self.model = model
        self.adapter = None if adapter is None else Path(adapter)
        self.scale = scale
        self.device = pick_device(device)
        self.dtype = pick_dtype(self.device) if dtype is None else dtype
        self.batch_size = batch_size

    @cached_property
    def pipeline(self) -> Pipeline:
        """The loaded model with the adapter merged; raises Model- and :class:`AdapterError`."""
        if self.adapter is None:
            return pipelines.load_pipeline(self.model, device=self.device, dtype=self.dtype)
        # merged in float32, since a small change drowns in the rounding of a 16-bit weight twice
        loaded = pipelines.load_pipeline(self.model, device=self.device, dtype=torch.float32)
        before = probe(loaded)
        load_adapter(loaded, self.adapter, scale=self.scale)
        change = float((probe(loaded) - before).abs().max())
        if not change > _SMALLEST_CHANGE * float(before.abs().max()):
            raise AdapterError(
                f"{self.adapter.name} at strength {self.scale:g}: the adapter changes nothing "
                f"(largest change of a test prediction: {change:.1e}). It is untrained or damaged; "
                "pictures would be the base model's."
            )
        pipelines.set_format(loaded, self.device, self.dtype)
        return loaded

    @cached_property
    def _adapter_summary(self) -> AdapterSummary | None:
        return None if self.adapter is None else read_summary(self.adapter)

    def describe(self) -> dict[str, Any]:
        """Kind, model name and fingerprint, adapter and strength, number format, sampler."""
        summary = self._adapter_summary
        return {
            "kind": "local",
            "model": pipelines.model_name(self.model),
            "model_fingerprint": self._fingerprint,
            "adapter": None if summary is None else summary.to_dict(),
            "scale": self.scale,
            "format": str(self.dtype).removeprefix("torch."),
            "sampler": "ddim",
        }

    @cached_property
    def _fingerprint(self) -> str:
        return pipelines.model_fingerprint(self.model)

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry]:
        """The plan's pictures, or those of ``indices`` alone, in rising order."""
        wanted = sorted(range(plan.count) if indices is None else set(indices))
        if wanted and not 0 <= wanted[0] <= wanted[-1] < plan.count:
            raise ConfigError(
                f"Pictures {wanted[0]} to {wanted[-1]} are asked for; expected 0 to "
                f"{plan.count - 1}, as the plan has {plan.count}."
            )
        negative = pipelines.encode_prompts(self.pipeline, [plan.negative]) if wanted else None
        chosen = set(wanted)
        for first in sorted({index - index % self.batch_size for index in wanted}):
            batch = range(first, min(first + self.batch_size, plan.count))
            images = self._draw(plan, list(batch), negative)
            for index, image in zip(batch, images, strict=True):
                if index in chosen:
                    yield Mimicry(image, index, plan.prompt(index), plan.seed + index)
                    progress.advance()

    @torch.no_grad()
    def _draw(self, plan: PromptPlan, batch: list[int], negative: Any) -> Tensor:
        pipeline = self.pipeline
        size = plan.size or pipelines.native_size(pipeline)
        embeds = pipelines.encode_prompts(pipeline, [plan.prompt(index) for index in batch])
        latents = sample_latents(
            pipeline,
            seeded_noise(pipeline, [plan.seed + index for index in batch], size),
            embeds,
            negative,
            steps=plan.steps,
            guidance=plan.guidance,
        )
        return pipelines.decode_latents(pipeline, latents).cpu()


@torch.no_grad()
def probe(pipeline: Pipeline) -> Tensor:
    """The denoiser's answer to one fixed noise and prompt: changes when any weight in use does."""
    embeds = pipelines.encode_prompts(pipeline, [_PROBE_PROMPT])
    noise = seeded_noise(pipeline, [0], pipelines.native_size(pipeline))
    time = torch.tensor([500], device=noise.device)
    dtype = pipeline.unet.dtype
    answer: Tensor = pipeline.unet(noise.to(dtype), time, embeds, return_dict=False)[0]
    return answer.float()
