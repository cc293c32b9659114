"""diffusers reads what we write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import need_models
from support.toy_adapters import normal

from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.write import save_kohya

need_models()
pytestmark = pytest.mark.models

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def test_diffusers_reads_what_we_write(pipeline: Any, tmp_path: Path) -> None:
    """The UNet part, read by diffusers' own kohya converter, predicts as our merge does."""
    out = TO_K.replace("attn2_to_k", "attn1_to_out_0")
    modules = {n: (normal(3, 32), normal(32, 3, seed=2), 1.5) for n in (TO_K, out)}
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {})
    noise, embeds = normal(1, 4, 4, 4), normal(1, 32, 32)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name)
    theirs = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    pipeline.unload_lora_weights()
    plain = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    load_adapter(pipeline, path)
    ours = pipeline.unet(noise, 500, embeds, return_dict=False)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(ours, plain, atol=1e-3)
