"""A LoRA of a tiny model, with layers of every kind, and images to attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from siren_ext.suspects.local import LocalSuspect

ALPHA = 1.5
_ENDINGS = ("attn2_to_k", "attn1_to_out_0", "proj_in", "time_emb_proj", "resnets_0_conv2")


def tiny_lora(path: Path, pipeline: Any, *, text: bool = False, seed: int = 0) -> Path:
    """Write a random LoRA for some layers of a tiny model; returns the path."""
    from siren_ext.adapters.names import kohya_names
    from siren_ext.adapters.write import save_kohya

    generator = torch.Generator().manual_seed(seed)
    modules = {}
    for name, layer in kohya_names(pipeline).items():
        chosen = name.startswith("lora_unet_down") and name.endswith(_ENDINGS)
        if not (chosen or (text and name.endswith("0_self_attn_q_proj"))):
            continue
        out, into, *kernel = layer.weight.shape
        down = torch.randn(2, into, *kernel, generator=generator)
        up = torch.randn(out, 2, *(1 for _ in kernel), generator=generator)
        modules[name] = (down * 0.2, up * 0.2, ALPHA)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_kohya(path, modules, {})
    return path


def adapted(base: Path, path: Path, *, text: bool = False, weight: float = 1.0) -> LocalSuspect:
    """A tiny model with its LoRA; writes the LoRA if it does not exist."""
    if not path.exists():
        plain = LocalSuspect(base, device="cpu", dtype=torch.float32)
        tiny_lora(path, plain.pipeline, text=text)
    return LocalSuspect(base, path, scale=weight, device="cpu", dtype=torch.float32)
