"""The keys of adapter files: which module of which network, and which factor of it.

Programs join the module path with underscores (kohya, LyCORIS) or dots (peft, diffusers, ComfyUI)
and put their own prefix before it. Both become a :class:`Place`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

UNET, TEXT, TEXT_2, TEXT_3 = "unet", "text_encoder", "text_encoder_2", "text_encoder_3"
T5 = "text_encoder_t5"
"""The T5 encoder, which is the second text encoder of Flux and the third of Stable Diffusion 3."""
TRANSFORMER = "transformer"
"""The denoiser of newer families, which have no UNet."""
UNET_PREFIX = "lora_unet_"
TEXT_PREFIX = "lora_te_"

KOHYA, PEFT, DIFFUSERS, LDM = "kohya", "peft", "diffusers", "ldm"

# the longest prefix that fits is used; the empty one belongs to networks saved by themselves
_PREFIXES: tuple[tuple[str, str | None, str], ...] = (
    (UNET_PREFIX, UNET, KOHYA),
    (TEXT_PREFIX, TEXT, KOHYA),
    ("lora_te1_", TEXT, KOHYA),
    ("lora_te2_", TEXT_2, KOHYA),
    ("lora_te3_", TEXT_3, KOHYA),
    ("lora_transformer_", TRANSFORMER, KOHYA),
    ("lycoris_", UNET, KOHYA),
    ("oft_unet_", UNET, KOHYA),
    ("unet.base_model.model.", UNET, PEFT),
    ("text_encoder.base_model.model.", TEXT, PEFT),
    ("text_encoder_2.base_model.model.", TEXT_2, PEFT),
    ("base_model.model.", None, PEFT),
    ("text_encoder_3.base_model.model.", TEXT_3, PEFT),
    ("diffusion_model.", UNET, LDM),
    ("model.diffusion_model.", UNET, LDM),
    ("text_encoders.clip_l.transformer.", TEXT, LDM),
    ("text_encoders.clip_h.transformer.", TEXT, LDM),
    ("text_encoders.clip_g.transformer.", TEXT_2, LDM),
    ("text_encoders.t5xxl.transformer.", T5, LDM),
    ("clip_l.", TEXT, LDM),
    ("clip_g.", TEXT_2, LDM),
    ("t5.", T5, LDM),
    ("transformer.base_model.model.", TRANSFORMER, PEFT),
    ("unet.", UNET, DIFFUSERS),
    ("transformer.", TRANSFORMER, DIFFUSERS),
    ("text_encoder.", TEXT, DIFFUSERS),
    ("text_encoder_2.", TEXT_2, DIFFUSERS),
    ("text_encoder_3.", TEXT_3, DIFFUSERS),
    ("", None, DIFFUSERS),
)

_LYCORIS = (
    *(f"hada_{part}" for part in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *(f"lokr_{part}" for part in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
)
_ENDINGS: tuple[tuple[str, str], ...] = (
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_B.bias", "up_bias"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".alpha", "alpha"),
    (".dora_scale", "dora"),
    (".lora_magnitude_vector.weight", "magnitude"),
    (".lora_magnitude_vector", "magnitude"),
    *((f".{name}", name) for name in _LYCORIS),
    (".diff", "diff"),
    (".diff_b", "diff_b"),
    (".w_norm", "diff"),
    (".b_norm", "diff_b"),
    (".on_input", "on_input"),
    (".oft_blocks", "oft_blocks"),
    (".oft_diag", "oft_diag"),
    (".rescale", "rescale"),
    (".oft_R.weight", "oft_R"),
    (".delta", "delta"),
    ("_custom_diffusion.weight", "whole"),
    ("_custom_diffusion.0.weight", "whole"),
    ("_custom_diffusion.0.bias", "whole_b"),
    (".ia3_l", "ia3_l"),
    (".weight", "ia3"),
)
# peft names each of a model's adapters after the factor, and leaves the name out of its own files;
# a model's whole state has it still
_ADAPTER = re.compile(
    r"(.+\.(?:lora_[AB]|lora_magnitude_vector|ia3_l|oft_R|hada_\w+|lokr_\w+))"
    r"\.(?!(?:weight|bias)$)([^.]+)(\.weight|\.bias)?"
)
# diffusers' first attention processors gave the text encoder's layers the names of the UNet's
_TEXT_NAMES = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


# marks of kinds and parts of adapters that are not read
_UNREAD: tuple[tuple[str, str], ...] = (
    (r"\.boft_blocks$|\.boft_[RS]", "BOFT of another form"),
    (r"\.oft_(blocks|diag|R|r|s)\b", "OFT of another form"),
    (r"\.(a1|a2|b1|b2|bm1|bm2)\.weight$", "GLoRA"),
    (r"\.lora_(up|down)\.\d+$", "DyLoRA"),
    (r"\.(sig_type|lambda_layer|q_layer|p_layer)\b", "T-LoRA"),
    (r"\.vera_lambda_|^vera_[AB]\b", "VeRA of peft"),
    (r"\.lora_embedding_[AB]$", "LoRA of an embedding, peft"),
    (r"\.lora_[EA]$|\.lora_B$", "AdaLoRA of peft"),
    (r"\.hra_u$", "HRA of peft"),
    (r"\.set_weight$|\.reshape_weight$", "whole weights in place of differences"),
    (r"\.scalar$", "LyCORIS with a trained scalar"),
    (r"^bundle_emb\.", "textual inversion inside an adapter"),
    (r"^(first_stage_model|vae|conditioner|cond_stage_model)\.", "part of a whole checkpoint"),
)
_UNREAD_FACTORS = re.compile(r"lora|lokr|hada|alpha|diff|dora")


class Place(NamedTuple):
    """A module of a pipeline.

    Attributes
    ----------
    component : str or None
        Its network; None for any network that has it.
    flat : str
        Its path, joined by underscores.
    """

    component: str | None
    flat: str

    def __str__(self) -> str:
        """Kohya's name of the module."""
        prefix = {
            UNET: UNET_PREFIX, TRANSFORMER: "lora_transformer_", TEXT: TEXT_PREFIX,
            TEXT_2: "lora_te2_", TEXT_3: "lora_te3_", T5: "t5_",
        }  # fmt: skip
        clip = self.component in (TEXT, TEXT_2) and self.flat != "text_projection"
        clip = clip and not self.flat.startswith("encoder_block_")  # T5's names have no such level
        return prefix.get(self.component or "", "") + ("text_model_" if clip else "") + self.flat


class Key(NamedTuple):
    """The parts of a key.

    Attributes
    ----------
    place : Place
        The module.
    path : str
        Its path as written.
    field : str
        The factor, such as ``down``, ``alpha`` or ``hada_w1_a``.
    style : {"kohya", "peft", "diffusers", "ldm"}
        Whose naming it is.
    module : str
        The key without the factor: the module as the file names it.
    adapter : str
        peft's name of the adapter, such as ``default``; "" in most files.
    """

    place: Place
    path: str
    field: str
    style: str
    module: str
    adapter: str = ""


def parse_key(key: str) -> Key | None:
    """The parts of a key; None if its form is unknown."""
    named = _ADAPTER.fullmatch(key)
    if named is not None:
        key = named[1] + (named[3] or "")
    ending, field = max(
        ((end, name) for end, name in _ENDINGS if key.endswith(end)),
        key=lambda pair: len(pair[0]),
        default=("", ""),
    )
    if not ending:
        return None
    prefix, component, style = max(
        (entry for entry in _PREFIXES if key.startswith(entry[0])), key=lambda entry: len(entry[0])
    )
    path = key[len(prefix) : -len(ending)]
    if not path or (style == KOHYA and "." in path):
        return None
    if field in ("ia3", "on_input") and style != KOHYA:
        return None
    place = Place(component, flatten(component, path))
    adapter = "" if named is None else named[2]
    return Key(place, path, field, style, key[: -len(ending)], adapter)


def adapter_names(keys: Iterable[str]) -> list[str]:
    """Names of the adapters of peft to which keys belong, where the keys have such names."""
    parsed = [parse_key(key) for key in keys]
    return sorted({key.adapter for key in parsed if key is not None and key.adapter})


def unread_name(key: str) -> str:
    """A key that :func:`parse_key` does not know, with the kind of thing that it probably is."""
    kind = next((kind for mark, kind in _UNREAD if re.search(mark, key)), None)
    if kind is None and not _UNREAD_FACTORS.search(key):
        kind = "no factor of an adapter"
    return f"{key} ({kind})" if kind else key


def flatten(component: str | None, path: str) -> str:
    """A module path joined by underscores, without levels that libraries add or leave out.

    Parameters
    ----------
    component : str or None
        The network.
    path : str
        The path, joined by dots or underscores.
    """
    path = path.replace(".processor.", ".").removesuffix(".processor")
    # ComfyUI names parameters in full that are not called weight, such as those of RMS norms
    path = path.removesuffix(".scale")
    head, dot, last = path.rpartition(".")
    if head.endswith("self_attn"):
        path = head + dot + _TEXT_NAMES.get(last, last)
    elif last == "to_out" and dot:
        path += ".0"
    flat = path.replace(".", "_")
    return flat if component == UNET else flat.removeprefix("text_model_")
