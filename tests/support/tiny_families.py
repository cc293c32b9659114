"""Tiny random pipelines of many families, saved as diffusers folders; built once per session."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from support.tiny_models import CAPTIONS, SIZE

FAMILIES = ("sd2", "xl", "lcm", "kandinsky", "kandinsky22", "sd3", "flux", "vq")


@lru_cache(maxsize=16)
def tiny_family(root: Path, name: str) -> Path:
    """The folder of a tiny pipeline of a family; ``root`` is the session's temporary folder."""
    from siren_ext.diffusion.load import quiet_libraries

    folder = root / f"family_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_libraries(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = globals()[f"_{name}"](folder / "tokens")
        pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


def _tokenizer(folder: Path) -> Any:
    from siren_ext.pocket.parts import load_tokenizer, make_tokenizer

    make_tokenizer(CAPTIONS, folder)
    return load_tokenizer(folder)


def _clip(tokenizer: Any, width: int = 32, *, projection: bool = False, **options: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=width,
        **options,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def _t5(folder: Path) -> tuple[Any, Any]:
    """A T5 encoder, and a tokenizer that knows letters alone."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

    letters = [chr(code) for code in range(32, 127)]
    known = {token: row for row, token in enumerate(["<pad>", "</s>", "<unk>", *letters])}
    plain = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    plain.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    config = T5Config(
        vocab_size=len(known), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    return tokenizer, T5EncoderModel(config)


def _vae(channels: int = 4, **options: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=SIZE,
        **options,
    )


def _unet(**options: Any) -> Any:
    from diffusers import UNet2DConditionModel

    sizes: dict[str, Any] = {
        "sample_size": SIZE // 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 32,
        "attention_head_dim": 4,
    }
    return UNet2DConditionModel(**sizes | options)


def _sd2(tokens: Path) -> Any:
    """Stable Diffusion 2.x: velocity, linear projections, heads of one width, OpenCLIP."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    tokenizer = _tokenizer(tokens)
    tokenizer.pad_token = "!"
    return StableDiffusionPipeline(
        vae=_vae(),
        unet=_unet(attention_head_dim=(2, 4), use_linear_projection=True),
        text_encoder=_clip(tokenizer, hidden_act="gelu"),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction",
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _xl(tokens: Path) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    first, second = _tokenizer(tokens), _tokenizer(tokens)
    second.pad_token = "!"
    return StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=_clip(first, 8),
        text_encoder_2=_clip(second, 24, projection=True),
        tokenizer=first,
        tokenizer_2=second,
        unet=_unet(
            block_out_channels=(32, 32, 64),
            layers_per_block=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    )


def _lcm(tokens: Path) -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    tokenizer = _tokenizer(tokens)
    return LatentConsistencyModelPipeline(
        vae=_vae(),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        unet=_unet(time_cond_proj_dim=32),
        scheduler=LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _movq() -> Any:
    from diffusers import VQModel

    return VQModel(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        latent_channels=4,
        vq_embed_dim=4,
    )


def _prior(tokenizer: Any) -> dict[str, Any]:
    from diffusers import PriorTransformer, UnCLIPScheduler
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=16,
    )  # fmt: skip
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=16,
        num_embeddings=tokenizer.model_max_length, additional_embeddings=4,
    )  # fmt: skip
    prior.clip_std.data.fill_(1)  # zero at the start, which leaves nothing of the prompt
    return {
        "prior_prior": prior,
        "prior_image_encoder": CLIPVisionModelWithProjection(vision),
        "prior_text_encoder": _clip(tokenizer, 16, projection=True),
        "prior_tokenizer": tokenizer,
        "prior_scheduler": UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000,
            clip_sample_range=10.0,
        ),
        "prior_image_processor": CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
    }  # fmt: skip


def _kandinsky_unet(**options: Any) -> Any:
    return _unet(
        in_channels=4,
        out_channels=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
        **options,
    )


def _ddpm() -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        variance_type="learned_range",
    )  # fmt: skip


def _kandinsky22(tokens: Path) -> Any:
    from diffusers import KandinskyV22CombinedPipeline

    return KandinskyV22CombinedPipeline(
        unet=_kandinsky_unet(
            addition_embed_type="image", encoder_hid_dim=16, encoder_hid_dim_type="image_proj"
        ),
        scheduler=_ddpm(),
        movq=_movq(),
        **_prior(_tokenizer(tokens)),
    )


def _kandinsky(tokens: Path) -> Any:
    from diffusers import DDIMScheduler, KandinskyCombinedPipeline
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

    tokenizer = _tokenizer(tokens)
    config = MCLIPConfig(
        numDims=16, transformerDimensions=32, hidden_size=32, intermediate_size=37,
        num_attention_heads=4, num_hidden_layers=2, vocab_size=len(tokenizer),
    )  # fmt: skip
    return KandinskyCombinedPipeline(
        text_encoder=MultilingualCLIP(config),
        tokenizer=tokenizer,
        unet=_kandinsky_unet(
            addition_embed_type="text_image", addition_embed_type_num_heads=2,
            cross_attention_dim=16, encoder_hid_dim=32, encoder_hid_dim_type="text_image_proj",
        ),
        scheduler=DDIMScheduler(
            beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
            set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon", thresholding=False,
        ),
        movq=_movq(),
        **_prior(_tokenizer(tokens)),
    )  # fmt: skip


def _sd3(tokens: Path) -> Any:
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    tokenizer = _tokenizer(tokens)
    long_tokenizer, t5 = _t5(tokens)
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=SIZE // 8, patch_size=1, in_channels=8, num_layers=1, attention_head_dim=8,
            num_attention_heads=4, joint_attention_dim=32, caption_projection_dim=32,
            pooled_projection_dim=32, out_channels=8,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(8, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False,
                 use_post_quant_conv=False),
        text_encoder=_clip(tokenizer, 16, projection=True),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer, 16, projection=True),
        tokenizer_2=_tokenizer(tokens),
        text_encoder_3=t5,
        tokenizer_3=long_tokenizer,
    )  # fmt: skip


def _flux(tokens: Path) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    tokenizer = _tokenizer(tokens)
    long_tokenizer, t5 = _t5(tokens)
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8), guidance_embeds=True,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(4, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False,
                 use_post_quant_conv=False),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5,
        tokenizer_2=long_tokenizer,
    )  # fmt: skip


def _kontext(tokens: Path) -> Any:
    from diffusers import FluxKontextPipeline

    return FluxKontextPipeline(**_flux(tokens).components)


def _vq(tokens: Path) -> Any:
    from diffusers import Transformer2DModel, VQDiffusionPipeline, VQDiffusionScheduler, VQModel

    tokenizer = _tokenizer(tokens)
    side = SIZE // 8
    transformer = Transformer2DModel(
        num_attention_heads=2, attention_head_dim=12, cross_attention_dim=32,
        attention_bias=True, sample_size=side, num_vector_embeds=13, num_layers=1,
        norm_type="ada_norm", num_embeds_ada_norm=12, activation_fn="geglu-approximate",
    )  # fmt: skip
    # a few large steps decide between classes: the prompt has to weigh enough to change one
    transformer.transformer_blocks[0].attn2.to_out[0].weight.data.mul_(30)
    return VQDiffusionPipeline(
        vqvae=VQModel(
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
            num_vq_embeddings=12,
            latent_channels=3,
            vq_embed_dim=3,
        ),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        scheduler=VQDiffusionScheduler(num_vec_classes=13, num_train_timesteps=12),
        learned_classifier_free_sampling_embeddings=(
            sys.modules[VQDiffusionPipeline.__module__].LearnedClassifierFreeSamplingEmbeddings(
                learnable=True, hidden_size=32, length=tokenizer.model_max_length
            )
        ),
    )  # fmt: skip
