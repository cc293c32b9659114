"""The parts of the pocket model: tokenizer, autoencoder, text encoder, UNet and scheduler."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from siren_ext.errors import ModelError
from siren_ext.files import atomic

VOCABULARY = 4096
MAX_TOKENS = 32
WIDTH = 128
TOKENIZER_FILES = ("vocab.json", "merges.txt")
FEW_STEPS = Path(__file__).with_name("few_steps.safetensors")
"""The bundled adapter with which ``pocket`` draws in a few steps."""
# prefix of a text encoder's weights in older versions of transformers; newer ones read both
_TEXT_PREFIX = "text_model."


@dataclass(frozen=True)
class Design:
    """What one model of the family has for itself.

    Attributes
    ----------
    channels, heads : tuple of int
        Channels and attention heads of the UNet's three levels.
    prediction : {"v_prediction", "epsilon"}
        What the UNet predicts: the velocity, as Stable Diffusion 2 does, or the noise, as Stable
        Diffusion 1 and XL do.
    """

    channels: tuple[int, int, int]
    heads: tuple[int, int, int]
    prediction: str


DESIGNS = {
    "pocket": Design((96, 160, 192), (3, 5, 6), "v_prediction"),
    "small": Design((64, 64, 96), (2, 2, 3), "epsilon"),
}


def make_tokenizer(captions: list[str], folder: Path) -> None:
    """Learn a byte-level BPE vocabulary and write it as CLIP's vocab.json and merges.txt.

    Parameters
    ----------
    captions : list of str
        The texts to learn from.
    folder : Path
        Where to write the two files.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [letter + "</w>" for letter in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        # fixes the token numbers, which break ties; otherwise they come from a hash table
        special_tokens=endings,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(captions), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in learnt["merges"]]
    tokens = [*alphabet, *endings]
    tokens += ["".join(merge.split()) for merge in merges]
    tokens = list(dict.fromkeys(tokens))[: VOCABULARY - 2]
    known = set(tokens)
    merges = [m for m in merges if "".join(m.split()) in known]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")


def load_tokenizer(folder: Path) -> Any:
    """The CLIP tokenizer with the vocabulary in a folder."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        model_max_length=MAX_TOKENS,
        pad_token="<|endoftext|>",
    )


def load_taesd(folder: Path) -> Any:
    """TAESD as a diffusers ``AutoencoderTiny``, from the published weights in a folder."""
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny(scaling_factor=1.0)
    state: dict[str, Tensor] = {}
    for part in ("encoder", "decoder"):
        # the decoder's first clamp is layer 0 in the file, but not a layer in diffusers
        offset = 1 if part == "decoder" else 0
        for name, value in load_file(folder / f"taesd_{part}.safetensors").items():
            index, rest = name.split(".", 1)
            state[f"{part}.layers.{int(index) - offset}.{rest}"] = value.float()
    vae.load_state_dict(state, strict=True)
    return vae.eval().requires_grad_(False)


def make_unet(design: Design) -> Any:
    """A small UNet with Stable Diffusion's block types; attention in the two lower levels.

    Parameters
    ----------
    design : Design
        Its width.
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=design.channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=design.heads,
    )


def make_text_encoder(tokenizer: Any) -> Any:
    """A four-layer CLIP text model of width 128, trained together with the UNet."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def make_scheduler(design: Design) -> Any:
    """DDIM with Stable Diffusion's noise schedule.

    Parameters
    ----------
    design : Design
        What the UNet predicts.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type=design.prediction,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def predicts(model: Path) -> str:
    """What an exported model predicts: ``v_prediction`` or ``epsilon``."""
    config = json.loads((model / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    return str(config.get("prediction_type", "epsilon"))


def save_model(
    out: Path, *, design: Design, unet: Any, text: Any, tokenizer: Path, taesd: Path
) -> None:
    """Write a diffusers folder in float16 that old and new versions of transformers can read.

    Parameters
    ----------
    out : Path
        The folder.
    design : Design
        What the UNet predicts.
    unet, text : torch.nn.Module
        The trained networks.
    tokenizer : Path
        Folder with the vocabulary.
    taesd : Path
        Folder with the autoencoder's published weights.
    """
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=load_taesd(taesd),
        unet=unet,
        text_encoder=text,
        tokenizer=load_tokenizer(tokenizer),
        scheduler=make_scheduler(design),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(out, safe_serialization=True)
    for name in TOKENIZER_FILES:  # newer versions of transformers write only tokenizer.json
        shutil.copyfile(tokenizer / name, out / "tokenizer" / name)
    weights = out / "text_encoder" / "model.safetensors"
    named = {
        key if key.startswith(_TEXT_PREFIX) else _TEXT_PREFIX + key: value.clone()
        for key, value in load_file(weights).items()
    }
    with atomic(weights) as temporary:
        save_file(named, temporary, metadata={"format": "pt"})


def load_weights(model: Path, *, unet: Any, text: Any) -> None:
    """Copy the weights of an exported model into networks.

    Parameters
    ----------
    model : Path
        Its diffusers folder.
    unet, text : torch.nn.Module
        The networks to change.

    Raises
    ------
    ModelError
        If the model cannot be loaded or has other shapes.
    """
    from siren_ext.diffusion.load import load_pipeline

    saved = load_pipeline(model, device="cpu", dtype=torch.float32)
    for name, mine, theirs in (("unet", unet, saved.unet), ("text", text, saved.text_encoder)):
        try:
            mine.load_state_dict(theirs.state_dict(), strict=True)
        except RuntimeError as error:
            raise ModelError(
                f"The {name} of {model} does not have the shape that this script trains: {error}"
            ) from error
