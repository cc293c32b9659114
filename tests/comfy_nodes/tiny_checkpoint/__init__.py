"""A node for the tests alone: a random checkpoint of Stable Diffusion 1's shape, but tiny.

ComfyUI's own loader knows SD 1 by its exact sizes, so its classes are called directly. Like any
loader it runs in inference mode.
"""

from __future__ import annotations

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 24,
    "num_heads": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "dtype": torch.float32,
}
CODER = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 64,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_resolutions": [],
    "dropout": 0.0,
}


class Clip:
    """Encodes every prompt as the same noise."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        seed = torch.Generator().manual_seed(len(tokens))
        return [[torch.randn(1, 7, UNET["context_dim"], generator=seed), {}]]


class TinyCheckpoint:
    """MODEL, CLIP and VAE."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802 - the host's name
        return {"required": {}}

    def load(self):
        assert torch.is_inference_mode_enabled()
        torch.manual_seed(0)
        device = comfy.model_management.get_torch_device()
        config = comfy.supported_models.SD15(dict(UNET))
        config.set_inference_dtype(torch.float32, None)
        model = comfy.model_base.BaseModel(config, device=device)
        for weight in model.diffusion_model.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.05)
        patcher = comfy.model_patcher.ModelPatcher(
            model, load_device=device, offload_device=torch.device("cpu")
        )
        coder = AutoencoderKL(ddconfig=CODER, embed_dim=4)
        for weight in coder.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.05)
        vae = comfy.sd.VAE(
            sd=coder.state_dict(), config={"params": {"ddconfig": CODER, "embed_dim": 4}}
        )
        return patcher, Clip(), vae


NODE_CLASS_MAPPINGS = {"TestTinyCheckpoint": TinyCheckpoint}
