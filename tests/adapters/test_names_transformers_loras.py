"""Names in LoRAs of newer transformers: diffusers' own converters of LoRA files are the judge."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny_models import need_models
from torch import nn

from siren_ext.adapters.keys import TRANSFORMER, flatten
from siren_ext.adapters.names import Modules
from siren_ext.adapters.originals import original_names

need_models()
pytestmark = pytest.mark.models

# one block of each kind, without values; Lumina 2 at its real width: its converter knows no other
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen": (
        "QwenImageTransformer2DModel",
        {"num_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2, "in_channels": 16,
         "out_channels": 4, "joint_attention_dim": 32, "axes_dims_rope": (4, 6, 6)},
    ),
    "lumina2": (
        "Lumina2Transformer2DModel",
        {"num_layers": 1, "num_refiner_layers": 1},
    ),
    "hidream": (
        "HiDreamImageTransformer2DModel",
        {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
         "num_attention_heads": 2, "patch_size": 2, "in_channels": 4, "out_channels": 4,
         "caption_channels": [16, 16], "text_emb_dim": 16, "num_routed_experts": 2,
         "num_activated_experts": 1, "axes_dims_rope": (4, 6, 6), "max_resolution": (16, 16),
         "llama_layers": [0, 0]},
    ),
}  # fmt: skip
CASES = {
    "qwen, as ai-toolkit": ("qwen", "qwen", "diffusion_model.", "."),
    "qwen, as kohya's scripts": ("qwen", "qwen", "lora_unet_", "_"),
    "lumina2, as ai-toolkit": ("lumina2", "lumina2", "diffusion_model.", "."),
    "hidream, as ai-toolkit": ("hidream", "hidream", "diffusion_model.", "."),
}
BLOCKS = ("noise_refiner.", "context_refiner.", "layers.")
"""What Lumina 2's converter takes."""


def layers(network: nn.Module) -> dict[str, nn.Linear]:
    return {path: m for path, m in network.named_modules() if isinstance(m, nn.Linear)}


@pytest.mark.parametrize("case", CASES)
def test_names_lead_where_diffusers_converter_leads(case: str) -> None:
    import diffusers
    from diffusers.loaders import lora_conversion_utils

    family, converter, prefix, joint = CASES[case]
    kind, options = FAMILIES[family]
    convert = getattr(
        lora_conversion_utils, f"_convert_non_diffusers_{converter}_lora_to_diffusers", None
    )
    if not hasattr(diffusers, kind) or convert is None:
        pytest.skip(f"this diffusers has no {kind}, or no converter for it")
    with torch.device("meta"):
        transformer = getattr(diffusers, kind)(**options)
    known = Modules(SimpleNamespace(transformer=transformer))
    lists = {n: len(m) for n, m in transformer.named_children() if isinstance(m, nn.ModuleList)}
    named = dict(original_names(kind, lists))
    covered = {path for paths in named.values() for path in paths}
    names = [*named, *(path for path in layers(transformer) if path not in covered)]
    if family == "lumina2":
        names = [name for name in names if name.startswith(BLOCKS)]
    file, targets = {}, {}
    for name in names:
        target = known._found.get((TRANSFORMER, flatten(TRANSFORMER, name)))
        if target is None and name in named:  # a block may lack some of them
            continue
        assert target is not None, name
        if not isinstance(target.module, nn.Linear):  # a LoRA has no factors for norms
            continue
        targets[name] = target
        rows = sum(_rows(part) for part in target.parts)
        written = prefix + name.replace(".", joint)
        # the rows of the second factor say which module they are for, and where in it
        marks = torch.arange(rows, dtype=torch.float64)[:, None] + len(targets) * 10**6
        down, up = ("lora_down", "lora_up") if joint == "_" else ("lora_A", "lora_B")
        file |= {f"{written}.{down}.weight": torch.ones(1, 1), f"{written}.{up}.weight": marks}
    wanted = {key: value.clone() for key, value in file.items()}
    converted = convert(file)
    assert len(targets) >= 9
    for name, target in targets.items():
        written = prefix + name.replace(".", joint)
        second = next(wanted[key] for key in wanted if key in (
            f"{written}.lora_up.weight", f"{written}.lora_B.weight"))  # fmt: skip
        pieces = [converted[f"transformer.{part.path}.lora_B.weight"] for part in target.parts]
        assert torch.equal(torch.cat(pieces), second), name


def _rows(part: Any) -> int:
    return part.rows[1] - part.rows[0] if part.rows else int(part.module.weight.shape[0])
