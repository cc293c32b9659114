"""Sampling agrees with diffusers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, need_models

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import ddim, sample_latents, seeded_noise

need_models()
pytestmark = pytest.mark.models


def test_sampling_agrees_with_diffusers(pipeline: Any) -> None:
    size = SIZE
    noise = seeded_noise(pipeline, [11, 12], size)
    ours = sample_latents(
        pipeline,
        noise,
        pipelines.encode_prompts(pipeline, ["a cat", "a dog"]),
        pipelines.encode_prompts(pipeline, ["bad"]),
        steps=4,
        guidance=3.0,
    )
    original = pipeline.scheduler
    pipeline.scheduler = ddim(pipeline)
    try:
        theirs = pipeline(
            prompt=["a cat", "a dog"],
            negative_prompt=["bad", "bad"],
            num_inference_steps=4,
            guidance_scale=3.0,
            latents=noise,
            height=size,
            width=size,
            output_type="latent",
        ).images
    finally:
        pipeline.scheduler = original
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
