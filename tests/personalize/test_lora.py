"""LoRA weights: their targets, and a file that merges to what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.short_runs import SMALL, load, small
from support.tiny_models import need_models

from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines
from siren_ext.personalize.lora import LoraWeights, text_targets, unet_targets

need_models()
pytestmark = pytest.mark.models


def test_targets_are_kohyas(model: Path) -> None:
    unet = load(model).unet
    plain = unet_targets(unet, small(conv_rank=0))
    assert all(".attentions." in path for path in plain)
    assert "mid_block.attentions.0.proj_in" in plain
    assert "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj" in plain
    assert set(plain.values()) == {(4, 4.0)}
    wide = unet_targets(unet, SMALL)
    extra = set(wide) - set(plain)
    assert {wide[path] for path in extra} == {(2, 1.0)}
    assert "down_blocks.0.resnets.0.conv1" in extra
    assert "down_blocks.0.downsamplers.0.conv" in extra
    assert "up_blocks.0.upsamplers.0.conv" in extra
    assert not any("time_emb" in path or path in ("conv_in", "conv_out") for path in wide)


@pytest.mark.parametrize("text", [False, True])
def test_merged_file_equals_the_trained_network(model: Path, tmp_path: Path, text: bool) -> None:
    config = small(train_text_encoder=text)
    pipeline = load(model)
    weights = LoraWeights(pipeline, config)
    noise, prompts = torch.randn(2, 4, 4, 4), ["a cat", "a dog"]

    def predict(pipe: Any) -> torch.Tensor:
        with torch.no_grad():
            embeds = pipelines.encode_prompts(pipe, prompts)
            return pipe.unet(noise, 300, embeds, return_dict=False)[0]

    untouched = predict(load(model))
    torch.testing.assert_close(predict(pipeline), untouched, atol=1e-6, rtol=0)
    generator = torch.Generator().manual_seed(1)
    weights.restore(torch.randn(weights.vector.shape, generator=generator) * 0.1)
    save_kohya(tmp_path / "a.safetensors", weights.modules(), {})
    merged = load(model)
    summary = load_adapter(merged, tmp_path / "a.safetensors")
    assert summary.modules == len(weights.names)
    assert (summary.text_modules > 0) == text
    if text:
        assert summary.text_modules == len(text_targets(merged.text_encoder, config)) == 12
    torch.testing.assert_close(predict(merged), predict(pipeline), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(predict(merged), untouched, atol=1e-3)
