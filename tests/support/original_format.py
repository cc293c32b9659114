"""Tiny pipelines under the names of Stable Diffusion's original checkpoints."""

from __future__ import annotations

import re
from typing import Any

import torch

_UNET_BLOCKS = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("conv_in", "input_blocks.0.0"),
    ("down_blocks.0.resnets.0", "input_blocks.1.0"),
    ("down_blocks.0.attentions.0", "input_blocks.1.1"),
    ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
    ("down_blocks.1.resnets.0", "input_blocks.3.0"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
    ("up_blocks.0.resnets.0", "output_blocks.0.0"),
    ("up_blocks.0.resnets.1", "output_blocks.1.0"),
    ("up_blocks.0.upsamplers.0.conv", "output_blocks.1.1.conv"),
    ("up_blocks.1.resnets.0", "output_blocks.2.0"),
    ("up_blocks.1.attentions.0", "output_blocks.2.1"),
    ("up_blocks.1.resnets.1", "output_blocks.3.0"),
    ("up_blocks.1.attentions.1", "output_blocks.3.1"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
)
_UNET_PARTS = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)


def original_format(pipeline: Any) -> dict[str, torch.Tensor]:
    """The weights under the names of Stable Diffusion's original checkpoints."""
    state: dict[str, torch.Tensor] = {}
    for key, value in pipeline.unet.state_dict().items():
        old, new = next(pair for pair in _UNET_BLOCKS if key.startswith(pair[0] + "."))
        rest = key.removeprefix(old)
        if ".resnets." in old:
            for part, name in _UNET_PARTS:
                rest = rest.replace(f".{part}.", f".{name}.")
        state[f"model.diffusion_model.{new}{rest}"] = value
    last = len(pipeline.vae.config.block_out_channels) - 1
    for key, value in pipeline.vae.state_dict().items():
        name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
        name = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
        name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("to_out.0", "proj_out")
        name = re.sub(r"attn_1\.to_([qkv])", r"attn_1.\1", name)
        name = name.replace("attn_1.group_norm", "attn_1.norm").replace("conv_norm_out", "norm_out")
        name = name.replace("conv_shortcut", "nin_shortcut")
        if "attn_1" in name and value.ndim == 2:
            value = value[:, :, None, None]
        state[f"first_stage_model.{name}"] = value
    for key, value in pipeline.text_encoder.state_dict().items():
        full = key if key.startswith("text_model.") else f"text_model.{key}"
        state[f"cond_stage_model.transformer.{full}"] = value
    return {key: value.clone().contiguous() for key, value in state.items()}
