"""Names that the original programs give to the modules of transformers, beside diffusers' own.

Kohya's scripts, ai-toolkit, OneTrainer and ComfyUI name modules as the original releases do, where
one module often holds what diffusers keeps apart (``qkv`` for ``to_q``, ``to_k`` and ``to_v``). The
tables follow diffusers' own converters of checkpoints (``diffusers.loaders.single_file_utils``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_QKV = "attn.to_q attn.to_k attn.to_v"
_ADDED = "attn.add_q_proj attn.add_k_proj attn.add_v_proj"

# original name to diffusers' name, or to several names whose rows follow each other
_FLUX_BLOCK = {
    "img_attn.qkv": _QKV,
    "img_attn.proj": "attn.to_out.0",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.qkv": _ADDED,
    "txt_attn.proj": "attn.to_add_out",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_SINGLE_NORMS = {"norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k"}
_FLUX_ENDS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_FLUX = {
    "": {
        **_FLUX_ENDS,
        "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
        "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
        "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    },
    "double_blocks transformer_blocks": {
        **_FLUX_BLOCK,
        "img_mod.lin": "norm1.linear",
        "img_mlp.0": "ff.net.0.proj",
        "img_mlp.2": "ff.net.2",
        "txt_mod.lin": "norm1_context.linear",
        "txt_mlp.0": "ff_context.net.0.proj",
        "txt_mlp.2": "ff_context.net.2",
    },
    "single_blocks single_transformer_blocks": {
        "linear1": f"{_QKV} proj_mlp",
        "linear2": "proj_out",
        "modulation.lin": "norm.linear",
        **_SINGLE_NORMS,
    },
}
_SD3 = {
    "": {
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
        "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
        "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
        "final_layer.linear": "proj_out",
        "final_layer.adaLN_modulation.1": "norm_out.linear",
    },
    "joint_blocks transformer_blocks": {
        "x_block.attn.qkv": _QKV,
        "x_block.attn.proj": "attn.to_out.0",
        "x_block.attn.ln_q": "attn.norm_q",
        "x_block.attn.ln_k": "attn.norm_k",
        "x_block.attn2.qkv": "attn2.to_q attn2.to_k attn2.to_v",
        "x_block.attn2.proj": "attn2.to_out.0",
        "x_block.attn2.ln_q": "attn2.norm_q",
        "x_block.attn2.ln_k": "attn2.norm_k",
        "x_block.adaLN_modulation.1": "norm1.linear",
        "x_block.mlp.fc1": "ff.net.0.proj",
        "x_block.mlp.fc2": "ff.net.2",
        "context_block.attn.qkv": _ADDED,
        "context_block.attn.proj": "attn.to_add_out",
        "context_block.attn.ln_q": "attn.norm_added_q",
        "context_block.attn.ln_k": "attn.norm_added_k",
        "context_block.adaLN_modulation.1": "norm1_context.linear",
        "context_block.mlp.fc1": "ff_context.net.0.proj",
        "context_block.mlp.fc2": "ff_context.net.2",
    },
}
_FLUX2 = {
    "": {
        **_FLUX_ENDS,
        "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
        "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
        "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
        "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
        "single_stream_modulation.lin": "single_stream_modulation.linear",
    },
    "double_blocks transformer_blocks": {
        **_FLUX_BLOCK,
        "img_mlp.0": "ff.linear_in",
        "img_mlp.2": "ff.linear_out",
        "txt_mlp.0": "ff_context.linear_in",
        "txt_mlp.2": "ff_context.linear_out",
    },
    "single_blocks single_transformer_blocks": {
        "linear1": "attn.to_qkv_mlp_proj",
        "linear2": "attn.to_out",
        **_SINGLE_NORMS,
    },
}
_Z_BLOCK = {
    "attention.qkv": "attention.to_q attention.to_k attention.to_v",
    "attention.out": "attention.to_out.0",
    "attention.q_norm": "attention.norm_q",
    "attention.k_norm": "attention.norm_k",
}
_Z_IMAGE = {
    "": {
        "x_embedder": "all_x_embedder.2-1",
        "final_layer.linear": "all_final_layer.2-1.linear",
        "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
    },
    "layers": _Z_BLOCK,
    "noise_refiner": _Z_BLOCK,
    "context_refiner": _Z_BLOCK,
}
_LUMINA_BLOCK = {
    "attention.qkv": _QKV,
    "attention.out": "attn.to_out.0",
    "attention.q_norm": "attn.norm_q",
    "attention.k_norm": "attn.norm_k",
    "attention_norm1": "norm1.norm",
    "attention_norm2": "norm2",
    "feed_forward.w1": "feed_forward.linear_1",
    "feed_forward.w2": "feed_forward.linear_2",
    "feed_forward.w3": "feed_forward.linear_3",
    "adaLN_modulation.1": "norm1.linear",
}
_LUMINA2 = {
    "": {
        "cap_embedder.0": "time_caption_embed.caption_embedder.0",
        "cap_embedder.1": "time_caption_embed.caption_embedder.1",
        "t_embedder.mlp.0": "time_caption_embed.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "time_caption_embed.timestep_embedder.linear_2",
        "final_layer.adaLN_modulation.1": "norm_out.linear_1",
        "final_layer.linear": "norm_out.linear_2",
    },
    "layers": _LUMINA_BLOCK,
    "noise_refiner": _LUMINA_BLOCK,
    "context_refiner": {**_LUMINA_BLOCK, "attention_norm1": "norm1"},
}
_TABLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "FluxTransformer2DModel": _FLUX,
    "SD3Transformer2DModel": _SD3,
    "Flux2Transformer2DModel": _FLUX2,
    "ZImageTransformer2DModel": _Z_IMAGE,
    "Lumina2Transformer2DModel": _LUMINA2,
}
_SWAPPED = "AdaLayerNormContinuous"


def original_names(kind: str, blocks: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Original names of modules with diffusers' names of the same weights.

    Parameters
    ----------
    kind : str
        The class of the transformer; others than those known have no names.
    blocks : mapping of str to int
        Number of blocks in each list of blocks, by diffusers' name of the list.

    Yields
    ------
    original : str
        The path in the original program.
    paths : tuple of str
        The paths in diffusers, in the order of their rows in the original weight. Not every
        transformer has all of them.
    """
    for lists, names in _TABLES.get(kind, {}).items():
        if not lists:
            for original, paths in names.items():
                yield original, tuple(paths.split())
            continue
        theirs, _, ours = lists.rpartition(" ")
        for number in range(blocks.get(ours, 0)):
            for original, paths in names.items():
                inner = tuple(f"{ours}.{number}.{path}" for path in paths.split())
                yield f"{theirs or ours}.{number}.{original}", inner


def halves_swapped(owner: object) -> bool:
    """Whether diffusers stores scale and shift of a norm's layer in the other order."""
    return type(owner).__name__ == _SWAPPED


_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"(^|[._])joint_blocks?[._]", "Stable Diffusion 3"),
    (r"double_stream_modulation|single_stream_modulation", "Flux.2"),
    (r"[._]?(double|single)_blocks[._]\d+[._](img|txt|linear|modulation)", "Flux"),
    (r"single_transformer_blocks[._]", "Flux"),
    (r"(img_mlp|txt_mlp|img_mod|txt_mod)[._]", "Qwen-Image or Flux"),
    (r"double_stream_blocks|single_stream_blocks", "HiDream"),
    (r"(noise_refiner|context_refiner)[._]", "Z-Image or Lumina"),
    (r"layers[._]\d+[._](attention|feed_forward|adaLN_modulation)", "Z-Image or Lumina"),
    (r"blocks[._]\d+[._](self_attn|cross_attn|ffn)[._]", "Wan"),
    (r"(input|output|middle)_blocks?[._]|label_emb", "Stable Diffusion XL"),
    (r"(down|up)_blocks[._]\d+[._](attentions|resnets)|mid_block[._]", "a model with a UNet"),
    (r"transformer_blocks[._]", "a model with a transformer"),
    (r"encoder[._]block[._]\d+[._]layer[._]", "a T5 text encoder"),
    (r"encoder[._]layers[._]\d+[._]|text_projection", "a CLIP text encoder"),
)


def family_of(name: str) -> str | None:
    """The family whose module a name in an adapter file probably is; None if it is not known."""
    return next((family for mark, family in _FAMILIES if re.search(mark, name)), None)
