"""A whole model of Stable Diffusion 1.x as one checkpoint file, under the original names.

The inverse of what diffusers does when it reads such a file: names of the UNet, the autoencoder and
the text encoder in the authors' code (Rombach et al. 2022, "High-resolution image synthesis with
latent diffusion models", arXiv 2112.10752).
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from siren_ext.adapters.names import ldm_path
from siren_ext.diffusion.checkpoint_settings import SD1
from siren_ext.diffusion.load import Pipeline
from siren_ext.errors import ModelError

SUFFIX = ".safetensors"
# settings that change neither the weights nor what readers of such files assume
_FREE = frozenset(
    {"_class_name", "architectures", "model_type", "sample_size", "projection_dim"}
    | {"bos_token_id", "eos_token_id", "pad_token_id"}
)
_SCHEDULE = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")
_CLASSES = {
    "unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel",
}  # fmt: skip
# parts of names in the autoencoder: diffusers, original
_AUTOENCODER = (
    (r"\bmid_block\.resnets\.0\.", "mid.block_1."),
    (r"\bmid_block\.resnets\.1\.", "mid.block_2."),
    (r"\bmid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"\bmid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1."),
    (r"\bmid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"\bdown_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"\bdown_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"\bup_blocks\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"\bup_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"\bconv_shortcut\.", "nin_shortcut."),
    (r"\bconv_norm_out\.", "norm_out."),
)
_UPSAMPLER = re.compile(r"up_blocks\.(\d+)\.upsamplers\.0\.conv")


def check_single(pipeline: Pipeline) -> None:
    """Refuse models that readers of a checkpoint file would not rebuild from their weights.

    Parameters
    ----------
    pipeline : Pipeline
        The model.

    Raises
    ------
    ModelError
        If a part or a setting is not that of Stable Diffusion 1.x.
    """
    for part, usual in _CLASSES.items():
        network = getattr(pipeline, part)
        _agree(part, type(network).__name__, usual)
        for name, value in SD1[part].items():
            if name not in _FREE:
                _agree(f"{part}.{name}", getattr(network.config, name, None), value)
    for name in _SCHEDULE:
        found = pipeline.scheduler.config.get(name)
        _agree(f"scheduler.{name}", found, SD1["scheduler"][name])


def _agree(name: str, found: Any, usual: Any) -> None:
    """Refuse a setting that is not the usual one."""
    found = list(found) if isinstance(found, tuple) else found
    if found != usual:
        raise ModelError(
            f"The model can't be written as one {SUFFIX} file: its {name} is {found}; expected "
            f"{usual}, as in Stable Diffusion 1.x, because such a file has no settings. Give a "
            "folder as output instead."
        )


def original_weights(pipeline: Pipeline) -> dict[str, Tensor]:
    """All weights of a model under the names of Stable Diffusion's original checkpoints.

    Parameters
    ----------
    pipeline : Pipeline
        A model that :func:`check_single` accepts.

    Returns
    -------
    dict of str to Tensor
        The weights; most share memory with the model. Empty tensors ``v_pred`` and ``ztsnr`` mark
        models that predict velocity, and schedules that start at pure noise.

    Raises
    ------
    ModelError
        If a layer of the UNet has no original name.
    """
    found: dict[str, Tensor] = {}
    per_block = int(pipeline.unet.config.layers_per_block)
    with_attention = {
        key.split(".attentions.")[0] for key in pipeline.unet.state_dict() if ".attentions." in key
    }
    for key, value in pipeline.unet.state_dict().items():
        path, _, kind = key.rpartition(".")
        late = _UPSAMPLER.fullmatch(path)
        if late:  # the last module of its level
            block = int(late[1])
            after = 2 if f"up_blocks.{block}" in with_attention else 1
            new: str | None = f"output_blocks.{block * (per_block + 1) + per_block}.{after}.conv"
        else:
            new = ldm_path(path, per_block)
        if new is None:
            raise ModelError(
                f"The UNet's layer {path} has no name in Stable Diffusion 1.x; give a folder as "
                "output instead."
            )
        found[f"model.diffusion_model.{new}.{kind}"] = value
    last = len(pipeline.vae.config.block_out_channels) - 1
    for key, value in pipeline.vae.state_dict().items():
        for pattern, name in _AUTOENCODER:
            key = re.sub(pattern, name, key)
        # the original counts levels by resolution, diffusers in their order
        key = re.sub(r"\bup\.(\d+)\.", lambda match: f"up.{last - int(match[1])}.", key)
        if ".attn_1." in key and value.ndim == 2:  # a 1x1 convolution there
            value = value[:, :, None, None]
        found[f"first_stage_model.{key}"] = value
    for key, value in pipeline.text_encoder.state_dict().items():
        if not key.endswith("position_ids"):  # 0, 1, 2, ..., which no reader needs
            name = f"text_model.{key.removeprefix('text_model.')}"
            found[f"cond_stage_model.transformer.{name}"] = value
    settings = pipeline.scheduler.config
    if settings.prediction_type == "v_prediction":
        found["v_pred"] = torch.zeros(0)
    if settings.get("rescale_betas_zero_snr"):
        found["ztsnr"] = torch.zeros(0)
    return found
