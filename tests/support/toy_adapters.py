"""A network and adapter files in name only: what tests of reading and merging begin with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

K = "lora_unet_down_blocks_0_to_k"


CONV = "lora_unet_down_blocks_0_conv"


POINT = "lora_unet_down_blocks_0_proj_in"


NORM = "lora_unet_down_blocks_0_norm"


TEXT = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"


def tree(**children: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def toy(dtype: torch.dtype = torch.float32) -> Any:
    """A UNet and a text encoder in name only."""
    generator = torch.Generator().manual_seed(0)
    block = tree(
        to_k=nn.Linear(6, 4),
        conv=nn.Conv2d(4, 6, 3),
        proj_in=nn.Conv2d(4, 4, 1),
        norm=nn.GroupNorm(2, 4),
        to_v=nn.Linear(6, 4, bias=False),
    )
    layer = tree(self_attn=tree(q_proj=nn.Linear(4, 4)))
    pipeline = SimpleNamespace(
        unet=tree(down_blocks=nn.ModuleList([block])),
        text_encoder=tree(encoder=tree(layers=nn.ModuleList([layer]))),
    )
    for network in (pipeline.unet, pipeline.text_encoder):
        for weight in network.parameters():
            weight.data = torch.randn(weight.shape, generator=generator).to(dtype)
            weight.requires_grad_(False)
    return pipeline


def states(pipeline: Any) -> dict[str, torch.Tensor]:
    both = (pipeline.unet, pipeline.text_encoder)
    return {f"{i}.{k}": v.clone() for i, n in enumerate(both) for k, v in n.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def good() -> dict[str, torch.Tensor]:
    alpha = torch.tensor(1.5)
    return {
        f"{K}.lora_down.weight": normal(3, 6),
        f"{K}.lora_up.weight": normal(4, 3),
        f"{K}.alpha": alpha,
        f"{CONV}.lora_down.weight": normal(2, 4, 3, 3),
        f"{CONV}.lora_up.weight": normal(6, 2, 1, 1),
        f"{TEXT}.lora_down.weight": normal(2, 4),
        f"{TEXT}.lora_up.weight": normal(4, 2),
        f"{TEXT}.alpha": alpha.clone(),
    }


def write(folder: Path, tensors: dict[str, torch.Tensor], name: str = "a.safetensors") -> Path:
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / name)
    return folder / name


def claiming(tmp_path: Path, **metadata: Any) -> Path:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    save_file(good(), tmp_path / "claims.safetensors", texts)
    return tmp_path / "claims.safetensors"
