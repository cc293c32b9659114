"""Adapters of newer families: names of diffusers, of kohya's style and of the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models
from support.toy_adapters import normal

from siren_ext.adapters.merge import merge_adapter
from siren_ext.adapters.originals import original_names
from siren_ext.adapters.read import read_adapter
from siren_ext.diffusion.load import quiet_libraries
from siren_ext.errors import AdapterError

need_models()
pytestmark = pytest.mark.models

HEADS = {"attention_head_dim": 16, "num_attention_heads": 2, "num_layers": 1}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "Flux2Pipeline": (
        "Flux2Transformer2DModel",
        {**HEADS, "patch_size": 1, "in_channels": 16, "num_single_layers": 1,
         "joint_attention_dim": 32, "timestep_guidance_channels": 16,
         "axes_dims_rope": (4, 4, 4, 4)},
    ),
    "QwenImagePipeline": (
        "QwenImageTransformer2DModel",
        {**HEADS, "in_channels": 16, "out_channels": 4, "joint_attention_dim": 32,
         "axes_dims_rope": (4, 6, 6)},
    ),
    "ZImagePipeline": (
        "ZImageTransformer2DModel",
        {"in_channels": 4, "dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2,
         "n_kv_heads": 2, "cap_feat_dim": 16, "axes_dims": [4, 6, 6], "axes_lens": [64] * 3},
    ),
    "Lumina2Pipeline": (
        "Lumina2Transformer2DModel",
        {"sample_size": 8, "in_channels": 4, "hidden_size": 32, "num_layers": 1,
         "num_refiner_layers": 1, "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 8,
         "axes_dim_rope": (2, 4, 2), "axes_lens": (64, 64, 64), "cap_feat_dim": 16},
    ),
    "HiDreamImagePipeline": (
        "HiDreamImageTransformer2DModel",
        {**HEADS, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_single_layers": 1,
         "caption_channels": [16, 16], "text_emb_dim": 16, "num_routed_experts": 2,
         "num_activated_experts": 1, "axes_dims_rope": (4, 6, 6), "max_resolution": (16, 16),
         "llama_layers": [0, 0]},
    ),
}  # fmt: skip


def tiny(family: str) -> Any:
    """An object of the pipeline's name with a tiny random transformer of diffusers."""
    import diffusers

    kind, options = TINY[family]
    if not hasattr(diffusers, kind):
        pytest.skip(f"this diffusers has no {kind}")
    pipeline = type(family, (), {})()
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline.transformer = getattr(diffusers, kind)(**options)
    return pipeline


def layers(pipeline: Any) -> dict[str, torch.nn.Linear]:
    return {
        path: module
        for path, module in pipeline.transformer.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def check(pipeline: Any, file: Path, name: str, paths: list[str]) -> None:
    """A LoRA of one name changes the rows of these layers, in their order, and nothing else."""
    found = layers(pipeline)
    before = {path: layer.weight.detach().clone() for path, layer in found.items()}
    rows = [before[path].shape[0] for path in paths]
    down, up = normal(2, before[paths[0]].shape[1], seed=1), normal(sum(rows), 2, seed=2)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}, file)
    merge = merge_adapter(pipeline, read_adapter(file))
    deltas = dict(zip(paths, torch.split(up @ down, rows), strict=True))
    for path, layer in found.items():
        expected = before[path] + deltas[path] if path in deltas else before[path]
        torch.testing.assert_close(layer.weight.detach(), expected, atol=1e-5, rtol=1e-5)
    merge.undo()
    assert all(torch.equal(layer.weight, before[path]) for path, layer in found.items())


@pytest.mark.parametrize("family", TINY)
def test_names_of_diffusers_and_of_kohyas_style(family: str, tmp_path: Path) -> None:
    pipeline = tiny(family)
    for path in layers(pipeline):
        flat = path.replace(".", "_")
        for name in (f"transformer.{path}", f"diffusion_model.{path}", f"lora_unet_{flat}"):
            check(pipeline, tmp_path / "a.safetensors", name, [path])


ORIGINAL: list[tuple[str, str, list[str]]] = [
    ("Flux2Pipeline", "double_blocks.0.img_attn.qkv", ["to_q", "to_k", "to_v"]),
    ("Flux2Pipeline", "double_blocks.0.txt_attn.qkv", ["add_q_proj", "add_k_proj", "add_v_proj"]),
    ("ZImagePipeline", "layers.0.attention.qkv", ["to_q", "to_k", "to_v"]),
    ("ZImagePipeline", "context_refiner.0.attention.qkv", ["to_q", "to_k", "to_v"]),
    ("Lumina2Pipeline", "layers.0.attention.qkv", ["to_q", "to_k", "to_v"]),
    ("Lumina2Pipeline", "noise_refiner.0.attention.qkv", ["to_q", "to_k", "to_v"]),
]


@pytest.mark.parametrize(("family", "name", "parts"), ORIGINAL)
def test_joined_layers_of_the_original(
    family: str, name: str, parts: list[str], tmp_path: Path
) -> None:
    pipeline = tiny(family)
    block = {"Flux2Pipeline": "transformer_blocks.0.attn"}.get(family)
    attention = name.removesuffix(".qkv")
    if family == "Lumina2Pipeline":
        attention = attention.replace("attention", "attn")
    paths = [f"{block or attention}.{part}" for part in parts]
    for prefix in ("diffusion_model.", "model.diffusion_model."):
        check(pipeline, tmp_path / "a.safetensors", prefix + name, paths)
    check(pipeline, tmp_path / "a.safetensors", "lora_unet_" + name.replace(".", "_"), paths)


CONVERTERS = {
    "Flux2Pipeline": "convert_flux2_transformer_checkpoint_to_diffusers",
    "ZImagePipeline": "convert_z_image_transformer_checkpoint_to_diffusers",
}


@pytest.mark.parametrize("family", CONVERTERS)
def test_the_tables_are_those_of_diffusers_own_converters(family: str) -> None:
    from diffusers.loaders import single_file_utils

    pipeline = tiny(family)
    state = pipeline.transformer.state_dict()
    counts = dict.fromkeys(
        ("transformer_blocks", "single_transformer_blocks", "layers", "noise_refiner",
         "context_refiner"), 1,
    )  # fmt: skip
    original, expected = {}, {}
    for name, paths in original_names(TINY[family][0], counts):
        if "adaLN_modulation" in name and family == "Flux2Pipeline":
            continue  # its halves are swapped; see test_merge_transformers.py
        parts = {f"{path}.weight": state[f"{path}.weight"] for path in paths}
        original[f"{name}.weight"] = torch.cat(list(parts.values()))
        expected |= parts
    converted = getattr(single_file_utils, CONVERTERS[family])(dict(original))
    assert len(expected) >= 9
    assert converted.keys() == expected.keys()
    assert all(torch.equal(converted[key], expected[key]) for key in expected)


@pytest.mark.parametrize("family", TINY)
def test_a_name_that_is_not_read_is_called_by_its_name(family: str, tmp_path: Path) -> None:
    pipeline = tiny(family)
    name = "diffusion_model.layers.0.attention.odd"
    tensors = {f"{name}.lora_down.weight": normal(2, 32), f"{name}.lora_up.weight": normal(32, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=rf"{name}.* used by Z-Image or Lumina.* a {family}"):
        merge_adapter(pipeline, read_adapter(tmp_path / "a.safetensors"))
