"""Sampling agrees with diffusers' own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, need_models

from siren_ext.diffusion import pipelines
from siren_ext.diffusion.sampling import (
    NOISY,
    SAMPLERS,
    redraw_latents,
    sample_latents,
    scheduler_named,
    seeded_noise,
)

need_models()
pytestmark = pytest.mark.models


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_sampling_agrees_with_diffusers(pipeline: Any, sampler: str) -> None:
    size = SIZE
    noise = seeded_noise(pipeline, [11, 12], size)
    ours = sample_latents(
        pipeline,
        noise,
        pipelines.encode_prompts(pipeline, ["a cat", "a dog"]),
        pipelines.encode_prompts(pipeline, ["bad"]),
        steps=4,
        guidance=3.0,
        sampler=sampler,
        seeds=[11, 12],
    )
    original = pipeline.scheduler
    pipeline.scheduler = scheduler_named(pipeline, sampler)
    try:
        theirs = pipeline(
            prompt=["a cat", "a dog"],
            negative_prompt=["bad", "bad"],
            num_inference_steps=4,
            guidance_scale=3.0,
            latents=noise,
            generator=[torch.Generator().manual_seed(2**40 + seed) for seed in (11, 12)],
            height=size,
            width=size,
            output_type="latent",
        ).images
    finally:
        pipeline.scheduler = original
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in NOISY])
def test_redrawing_agrees_with_diffusers(pipeline: Any, sampler: str) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    latents, noise = (seeded_noise(pipeline, [seed], SIZE) for seed in (1, 12))
    ours = redraw_latents(
        pipeline,
        latents,
        noise,
        pipelines.encode_prompts(pipeline, ["a cat"]),
        pipelines.encode_prompts(pipeline, ["bad"]),
        strength=0.5,
        steps=4,
        guidance=3.0,
        sampler=sampler,
    )
    parts = {**pipeline.components, "scheduler": scheduler_named(pipeline, sampler)}
    theirs = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)(
        prompt="a cat",
        negative_prompt="bad",
        image=latents,
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(12),
        output_type="latent",
    ).images
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pictures_do_not_depend_on_their_company(pipeline: Any, sampler: str) -> None:
    texts = pipelines.encode_prompts(pipeline, ["a cat"])

    def drawn(*seeds: int) -> torch.Tensor:
        noise = seeded_noise(pipeline, list(seeds), SIZE)
        return sample_latents(
            pipeline, noise, texts, texts, steps=3, guidance=1.0, sampler=sampler, seeds=seeds
        )

    together = drawn(3, 4)
    torch.testing.assert_close(drawn(4)[0], together[1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-2)
    if sampler != "ddim":
        noise = seeded_noise(pipeline, [3, 4], SIZE)
        usual = sample_latents(pipeline, noise, texts, texts, steps=3, guidance=1.0)
        assert not torch.allclose(together, usual, atol=1e-3)


def test_more_steps_than_the_grid_of_few_step_models(pipeline: Any) -> None:
    texts = pipelines.encode_prompts(pipeline, ["a cat"])
    noise = seeded_noise(pipeline, [3], SIZE)
    settings: dict[str, Any] = {"guidance": 1.0, "sampler": "lcm", "seeds": [3]}
    found = sample_latents(pipeline, noise, texts, texts, steps=55, **settings)
    assert torch.isfinite(found).all()
    assert scheduler_named(pipeline, "lcm").config.clip_sample is False
