"""Nodes that make pictures to verify: a batch of prompts and seeds, and the bundled model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from . import convert, host, paths
from .types import CATEGORY

LARGEST_SEED = 2**62
PROMPTS_TIP = "One prompt a line, used in turn."


class PromptBatch(io.ComfyNode):
    """Prompts and a number -> lists, so that one queue run makes that many pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenPromptBatch",
            display_name="Prompt Batch",
            category=CATEGORY,
            description="Makes the nodes behind it run once per picture, each time with another "
            "seed: wire prompt into CLIP Text Encode and seed into KSampler.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="a photo of a dog",
                    dynamic_prompts=False,
                    tooltip=PROMPTS_TIP,
                ),
                io.Int.Input(
                    "count", default=30, min=1, max=10_000, tooltip="How many pictures to make."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    tooltip="Of the first picture; the next ones count up.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    is_output_list=True,
                    tooltip="One for each picture.",
                ),
                io.Int.Output(
                    "seeds",
                    display_name="seeds",
                    is_output_list=True,
                    tooltip="One for each picture.",
                ),
            ],
        )

    @classmethod
    def execute(cls, prompts: str, count: int, seed: int) -> io.NodeOutput:
        lines = prompt_lines(prompts)
        return io.NodeOutput(
            [lines[index % len(lines)] for index in range(count)],
            [seed + index for index in range(count)],
        )


def prompt_lines(prompts: str) -> tuple[str, ...]:
    """The prompts of a text, one a line; the empty prompt where there is none."""
    return tuple(line.strip() for line in prompts.splitlines() if line.strip()) or ("",)


@lru_cache(maxsize=2)
def _suspect(
    adapter: Path | None, _stamp: tuple[int, int] | None, scale: float, device: str
) -> Any:
    from siren_ext.suspects.local import LocalSuspect

    with torch.inference_mode(False):
        suspect = LocalSuspect("pocket", adapter, scale=scale, device=device)
        _ = suspect.pipeline  # loaded here, where weights become ordinary tensors
    return suspect


class PocketSampler(io.ComfyNode):
    """Prompts -> pictures of the bundled model, with or without a LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenPocketSampler",
            display_name="Pocket Sampler",
            category=CATEGORY,
            description="Draws small pictures with the model that comes with siren_ext, for trying "
            "the nodes without a checkpoint.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="an icon of a fox",
                    dynamic_prompts=False,
                    tooltip=PROMPTS_TIP,
                ),
                io.Int.Input("count", default=8, min=1, max=10_000, tooltip="How many pictures."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    tooltip="Of the first picture; the next ones count up.",
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Sampling steps."),
                io.Float.Input(
                    "guidance",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance; 3 suits this model.",
                ),
                io.Combo.Input(
                    "lora",
                    options=paths.adapter_names(),
                    default=paths.NO_ADAPTER,
                    tooltip="A LoRA of this model in models/loras (siren-ext personalize).",
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Factor on the LoRA.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="All pictures as one batch."
                ),
                io.String.Output(
                    "asked", display_name="asked", tooltip="The prompts, for Score Coating."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return paths.input_check(paths.adapter_file, lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: Any) -> Any:
        path = paths.adapter_file(lora)
        return None if path is None else paths.stamp(path)

    @classmethod
    def execute(
        cls,
        prompts: str,
        count: int,
        seed: int,
        steps: int,
        guidance: float,
        lora: str,
        lora_strength: float,
    ) -> io.NodeOutput:
        from siren_ext.suspects.base import PromptPlan

        lines = prompt_lines(prompts)
        plan = PromptPlan(prompts=lines, count=count, seed=seed, steps=steps, guidance=guidance)
        path = paths.adapter_file(lora)
        stamp = None if path is None else paths.stamp(path)
        with host.long_step() as progress:
            suspect = _suspect(path, stamp, lora_strength, str(host.device()))
            progress.stage("Generating", count)
            made = [mimicry.image for mimicry in suspect.generate(plan, progress=progress)]
        return io.NodeOutput(convert.to_comfy(torch.stack(made)), "\n".join(lines))
