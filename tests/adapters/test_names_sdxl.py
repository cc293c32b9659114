"""SDXL's names: those that diffusers reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models

from siren_ext.adapters.keys import UNET, flatten
from siren_ext.adapters.merge import resolve
from siren_ext.adapters.names import Modules, kohya_names
from siren_ext.adapters.read import read_adapter
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models


def test_sdxl_names_are_those_that_diffusers_reads(sdxl: Any) -> None:
    """kohya names SDXL's UNet in the original's words; diffusers' reader is the judge."""
    from diffusers import StableDiffusionXLPipeline

    known = Modules(sdxl)
    by_path = {target.path: flat for (_, flat), target in known._found.items()
               if "_block" in flat and flat.startswith(("input", "middle", "output"))}  # fmt: skip
    ours: dict[str, torch.Tensor] = {}
    for number, flat in enumerate(by_path.values()):
        ours[f"lora_unet_{flat}.lora_down.weight"] = torch.full((1, 1), float(number))
        ours[f"lora_unet_{flat}.lora_up.weight"] = torch.full((1, 1), float(number))
    layers = [p for p, m in sdxl.unet.named_modules() if type(m).__name__ in ("Linear", "Conv2d")]
    tops = ("time_embedding", "add_embedding", "conv_out")
    assert [p for p in layers if p not in by_path and not p.startswith(tops)] == []
    ours = {k: v for k, v in ours.items() if "layers_0" not in k and "norm" not in k}
    read = StableDiffusionXLPipeline.lora_state_dict
    try:
        theirs, _ = read(dict(ours), unet_config=sdxl.unet.config)
    except ValueError:  # early releases can't read the first convolution
        ours = {key: value for key, value in ours.items() if "input_blocks_0_0" not in key}
        theirs, _ = read(dict(ours), unet_config=sdxl.unet.config)
    found = {int(v): k for k, v in theirs.items() if "down.weight" in k or "lora_A" in k}
    checked = 0
    for number, path in enumerate(by_path):
        if number not in found:
            continue
        place = read_key(found[number])
        assert place == flatten(UNET, path), (found[number], path)
        checked += 1
    assert checked == len(ours) // 2 > 100


def read_key(key: str) -> str:
    from siren_ext.adapters.keys import parse_key

    parsed = parse_key(key)
    assert parsed is not None, key
    return parsed.place.flat


def test_sdxl_text_encoders_and_top_layers(sdxl: Any, tmp_path: Path) -> None:
    names = kohya_names(sdxl)
    assert "lora_te1_text_model_encoder_layers_1_mlp_fc1" in names
    assert "lora_te2_text_projection" in names
    tensors = {}
    places = {
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (16, 16),
        "lora_te2_text_model_encoder_layers_0_self_attn_q_proj": (16, 16),
        "lora_te2_text_projection": (16, 16),
        "lora_unet_label_emb_0_0": (128, 80),
        "lora_unet_time_embed_2": (128, 128),
        "lora_unet_out_2": (4, 32, 3, 3),
    }
    for name, shape in places.items():
        tensors[f"{name}.diff"] = torch.ones(shape)
    save_file(tensors, tmp_path / "a.safetensors")
    fits, warnings = resolve(sdxl, read_adapter(tmp_path / "a.safetensors"))
    assert warnings == ()
    assert sorted(str(target) for target, _ in fits)[-3:] == [
        "unet.add_embedding.linear_1",
        "unet.conv_out",
        "unet.time_embedding.linear_2",
    ]
    two = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_"
    tensors = {f"{two}A.weight": torch.ones(1, 16), f"{two}B.weight": torch.ones(16, 1)}
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(AdapterError, match="in more than one network"):
        resolve(sdxl, read_adapter(tmp_path / "adapter_model.safetensors"))
