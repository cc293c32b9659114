"""Nodes that help to generate images to verify: a batch of prompts, and the bundled model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from . import convert, example_loras, files, host, paths
from .types import CATEGORY, schema

LARGEST_SEED = 2**62
PROMPTS_TIP = "One prompt per line. The prompts are used in turn."


class PromptBatch(io.ComfyNode):
    """Makes the following nodes run once per image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenPromptBatch",
            search_aliases=["many seeds", "prompt list"],
            display_name="Prompt Batch",
            category=CATEGORY,
            description="Runs the nodes after it once per image, each time with a different seed. "
            "Connect prompt to CLIP Text Encode and seeds to the seed of KSampler.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="a photo of a dog",
                    dynamic_prompts=False,
                    tooltip=PROMPTS_TIP,
                ),
                io.Int.Input("count", default=30, min=1, max=10_000, tooltip="Number of images."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    tooltip="Seed of the first image; each next image adds 1.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "prompt",
                    display_name="prompt",
                    is_output_list=True,
                    tooltip="One per image.",
                ),
                io.Int.Output(
                    "seeds",
                    display_name="seeds",
                    is_output_list=True,
                    tooltip="One per image.",
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
    """Split a text into prompts.

    Parameters
    ----------
    prompts : str
        One prompt per line; empty lines are ignored.

    Returns
    -------
    tuple[str, ...]
        The prompts; one empty prompt if there is none.
    """
    return tuple(line.strip() for line in prompts.splitlines() if line.strip()) or ("",)


@lru_cache(maxsize=2)
def _suspect(
    adapter: Path | None, _stamp: tuple[int, int] | None, scale: float, device: str
) -> Any:
    from siren_ext.suspects.local import LocalSuspect

    with torch.inference_mode(False):
        suspect = LocalSuspect("pocket", adapter, scale=scale, device=device)
        _ = suspect.pipeline  # loaded here so that the weights are ordinary tensors
    return suspect


class PocketSampler(io.ComfyNode):
    """Generates images with the bundled model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenPocketSampler",
            search_aliases=["small model", "test model"],
            display_name="Pocket Sampler",
            category=CATEGORY,
            description="Generates small images with the model that comes with siren_ext, to try "
            "the nodes without a checkpoint.",
            inputs=[
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="an icon of a fox",
                    dynamic_prompts=False,
                    tooltip=PROMPTS_TIP,
                ),
                io.Int.Input("count", default=8, min=1, max=10_000, tooltip="Number of images."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=LARGEST_SEED,
                    tooltip="Seed of the first image; each next image adds 1.",
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Sampling steps."),
                io.Float.Input(
                    "guidance",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Classifier-free guidance (CFG); 3 suits this model.",
                ),
                io.Combo.Input(
                    "lora",
                    options=example_loras.lora_names(),
                    default=files.NO_ADAPTER,
                    tooltip="A LoRA for this model: one of the two examples, or a file in "
                    "models/loras made by siren-ext personalize.",
                ),
                io.Float.Input(
                    "lora_strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Weight of the LoRA.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="All images as one batch."),
                io.String.Output(
                    "asked", display_name="asked", tooltip="The prompts, for Score Coating."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, lora: str | None = None) -> bool | str:
        return paths.input_check(example_loras.lora_file, lora)

    @classmethod
    def fingerprint_inputs(cls, lora: str, **_: Any) -> Any:
        path = example_loras.lora_file(lora)
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
        path = example_loras.lora_file(lora)
        stamp = None if path is None else paths.stamp(path)
        with host.long_step() as progress:
            suspect = _suspect(path, stamp, lora_strength, str(host.device()))
            progress.stage("Generating", count)
            made = [mimicry.image for mimicry in suspect.generate(plan, progress=progress)]
        return io.NodeOutput(convert.to_comfy(torch.stack(made)), "\n".join(lines))
