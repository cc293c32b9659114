"""Tiny random pipelines of Stable Diffusion's shape, built once per test session and folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

CAPTIONS = [
    "a photo of a red cat",
    "a drawing of a blue dog on a green field",
    "an image of a yellow house with a tree",
    "a photo of two birds",
]
SIZE = 32
"""Native side of the tiny models in pixels."""

Prediction = Literal["epsilon", "v_prediction"]


def need_models() -> None:
    """Skip the calling test module when the optional model libraries are absent."""
    for name in ("diffusers", "transformers", "peft", "accelerate", "tokenizers"):
        pytest.importorskip(name)


def tiny_pipeline(
    folder: Path, *, vae: Literal["tiny", "kl"] = "tiny", prediction: Prediction = "epsilon"
) -> Any:
    """A random pipeline in float32; ``folder`` receives the tokenizer's files."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from siren_ext.diffusion.load import quiet_libraries
    from siren_ext.pocket.parts import MAX_TOKENS, load_tokenizer, make_tokenizer

    tokens = folder / "tokens"
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make_tokenizer(CAPTIONS, tokens)
        tokenizer = load_tokenizer(tokens)
        unet = UNet2DConditionModel(
            sample_size=SIZE // 8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
        )
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=MAX_TOKENS,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                projection_dim=32,
            )
        )
        scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=prediction,
        )
        pipeline = StableDiffusionPipeline(
            vae=_tiny_vae() if vae == "tiny" else _kl_vae(),
            unet=unet,
            text_encoder=text,
            tokenizer=tokenizer,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    for network in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        network.eval().requires_grad_(False)
    return pipeline


def _tiny_vae() -> Any:
    from diffusers import AutoencoderTiny

    widths = (8, 8, 8, 8)
    return AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
        scaling_factor=1.0,
    )


def _kl_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=SIZE,
    )


def save_tiny(
    folder: Path, *, vae: Literal["tiny", "kl"] = "tiny", prediction: Prediction = "epsilon"
) -> Path:
    """Write a random pipeline as a diffusers folder; returns its path."""
    from siren_ext.diffusion.load import quiet_libraries

    pipeline = tiny_pipeline(folder, vae=vae, prediction=prediction)
    with quiet_libraries():
        pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


@lru_cache(maxsize=8)
def shared_model(root: Path, vae: Literal["tiny", "kl"], prediction: Prediction) -> Path:
    """A folder made once per session; ``root`` is the session's base temporary folder."""
    folder = root / f"tiny_{vae}_{prediction}"
    folder.mkdir(parents=True, exist_ok=True)
    return save_tiny(folder, vae=vae, prediction=prediction)


def draw_images(folder: Path, count: int, *, size: int = SIZE, captions: bool = True) -> Path:
    """Write ``count`` soft random pictures, with captions; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    for index in range(count):
        small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index}.png")
        if captions:
            text = CAPTIONS[index % len(CAPTIONS)]
            (folder / f"{index}.txt").write_text(text, encoding="utf-8")
    return folder


def tiny_surrogate(root: Path, prediction: Any = "epsilon") -> Any:
    """A surrogate over a tiny pipeline, with three captions; skips where diffusers is missing."""
    need_models()
    from siren_ext.diffusion import pipelines
    from siren_ext.training.surrogate import DiffusionSurrogate

    folder = shared_model(root, "tiny", prediction)
    pipeline = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    return DiffusionSurrogate(pipeline, "a photo of a red cat", ["a red cat", "two birds", "a dog"])
