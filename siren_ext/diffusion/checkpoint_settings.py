"""Settings of Stable Diffusion 1.x, 2.x and XL, whose checkpoints may be one file of weights.

They have the names and values of diffusers and transformers, by part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Parts = dict[str, dict[str, Any]]

SD1: Parts = {
    "unet": {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [320, 640, 1280, 1280],
        "layers_per_block": 2,
        "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
        "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    },
    "vae": {
        "_class_name": "AutoencoderKL",
        "sample_size": 512,
        "latent_channels": 4,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
    },
    "text_encoder": {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 77,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    },
    "tokenizer": {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "do_lower_case": True,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    },
    "scheduler": {
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
    },
}
"""Settings of Stable Diffusion 1.x (1.1 to 1.5 and models fine-tuned from them), by part."""

SD2: Parts = {
    "unet": {
        **SD1["unet"],
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": [5, 10, 20, 20],
        "use_linear_projection": True,
    },
    "vae": {**SD1["vae"], "sample_size": 768},
    "text_encoder": {
        **SD1["text_encoder"],
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 23,
        "num_attention_heads": 16,
        "projection_dim": 512,
        "hidden_act": "gelu",
    },
    "tokenizer": {**SD1["tokenizer"], "pad_token": "!"},
    "scheduler": SD1["scheduler"],
}
"""Settings of Stable Diffusion 2.x. A file may not say whether it predicts noise or velocity."""

XL: Parts = {
    "unet": {
        **SD1["unet"],
        "sample_size": 128,
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 2],
        "up_block_types": [*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    "vae": {**SD1["vae"], "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True},
    "text_encoder": SD1["text_encoder"],
    "text_encoder_2": {
        **SD1["text_encoder"],
        "architectures": ["CLIPTextModelWithProjection"],
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    },
    "tokenizer": SD1["tokenizer"],
    "tokenizer_2": {**SD1["tokenizer"], "pad_token": "!"},
    "scheduler": {
        "_class_name": "EulerDiscreteScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "prediction_type": "epsilon",
    },
}
"""Settings of Stable Diffusion XL 1.0 (base) and models fine-tuned from it."""

_CLIP = "transformer.text_model.embeddings.token_embedding.weight"
_OPEN_CLIP = "model.token_embedding.weight"


@dataclass(frozen=True)
class Family:
    """A model family, and how to recognise its files.

    Attributes
    ----------
    name : str
        Its name for users.
    pipeline : str
        Its diffusers pipeline class.
    parts : dict
        The settings of each part.
    words : dict of str to str
        Key of each table of token vectors in a file, and the text encoder that it belongs to.
    prediction : bool
        Whether the prediction type in ``parts`` applies if a file does not give one.
    """

    name: str
    pipeline: str
    parts: Parts
    words: dict[str, str]
    prediction: bool = True

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes, by key, of a few tensors by which a file of this family is recognised."""
        unet = self.parts["unet"]
        first = (unet["block_out_channels"][0], unet["in_channels"], 3, 3)
        found: dict[str, tuple[int, ...]] = {FIRST_LAYER: first}
        for key, part in self.words.items():
            text = self.parts[part]
            found[key] = (text["vocab_size"], text["hidden_size"])
        return found


FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
FAMILIES = (
    Family(
        "Stable Diffusion 1.x",
        "StableDiffusionPipeline",
        SD1,
        {f"cond_stage_model.{_CLIP}": "text_encoder"},
    ),
    Family(
        "Stable Diffusion 2.x",
        "StableDiffusionPipeline",
        SD2,
        {f"cond_stage_model.{_OPEN_CLIP}": "text_encoder"},
        prediction=False,
    ),
    Family(
        "Stable Diffusion XL",
        "StableDiffusionXLPipeline",
        XL,
        {
            f"conditioner.embedders.0.{_CLIP}": "text_encoder",
            f"conditioner.embedders.1.{_OPEN_CLIP}": "text_encoder_2",
        },
    ),
)
"""All families whose settings are known. No file matches two of them."""
