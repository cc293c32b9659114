"""Find and load diffusion models from local files, never from a hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion.single_file import load_single_file, read_settings, scheduler_file
from siren_ext.errors import MissingExtraError, ModelError
from siren_ext.files import sha256_file

Pipeline = Any
"""A diffusers ``StableDiffusionPipeline``. Any, because diffusers need not be installed."""

POCKET, SMALL = "pocket", "pocket-small"
BUNDLED = {POCKET: "model", SMALL: "small"}
"""Models inside the package, and their folders."""
_PARTS = ("unet", "vae", "text_encoder")
_INDEX = "model_index.json"
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_SETTINGS = (".json", ".txt")
_HASHED = (".safetensors", *_SETTINGS)
# largest latent side for which plain attention is used on a CPU
_PLAIN_ATTENTION = 32
# part -> library and pattern of class names allowed in model_index.json
_CLASSES = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL|AutoencoderTiny"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer(Fast)?"),
    "scheduler": ("diffusers", r"\w+Scheduler"),
}


def model_path(model: str | Path) -> Path:
    """The folder or file of a model.

    Parameters
    ----------
    model : str or Path
        ``pocket`` or ``pocket-small`` for the models inside the package, a diffusers folder, or a
        ``.safetensors`` file.

    Raises
    ------
    ModelError
        If it does not exist or is something else.
    """
    if str(model) in BUNDLED:
        path = Path(__file__).parents[1] / "pocket" / BUNDLED[str(model)]
        if not (path / _INDEX).is_file():
            raise ModelError(
                f"The model {model} is missing from this installation (expected {path}). "
                "Reinstall the package, or give a diffusers folder."
            )
        return path
    path = Path(model)
    if (path / _INDEX).is_file():
        return path
    if path.is_file() and path.suffix == ".safetensors":
        return path
    found = f"{path} is a {'folder' if path.is_dir() else 'file'} that can't be used as a model"
    raise ModelError(
        f"{found if path.exists() else f'There is no model at {path}'}; expected '{POCKET}', a "
        "diffusers folder (with model_index.json) or a single-file .safetensors checkpoint. "
        "Nothing is downloaded: give the path of a local copy."
    )


def load_pipeline(
    model: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> Pipeline:
    """Load a Stable Diffusion 1.x or 2.x pipeline, frozen and in eval mode, from local files only.

    It has no safety checker and no progress bar, and pickles are not loaded.

    Parameters
    ----------
    model : str or Path
        ``pocket``, a diffusers folder, or a single-file ``.safetensors`` checkpoint (see
        :mod:`siren_ext.diffusion.single_file` for where its settings and tokenizer come from).
    device : str or torch.device
        Where to put it; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    dtype : torch.dtype or None
        Number format of the weights; None takes the fastest format of the device.

    Raises
    ------
    ModelError
        If the model is missing, unreadable, incomplete or of another family.
    MissingExtraError
        If diffusers or transformers is not installed.
    """
    path = model_path(model)
    target = torch.device(device) if isinstance(device, torch.device) else pick_device(device)
    with quiet_libraries():
        try:
            pipeline = _from_folder(path) if path.is_dir() else load_single_file(path)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
            # the libraries raise any of these for missing parts and mismatched shapes
            raise ModelError(f"{path} can't be loaded as a diffusion model: {error}.") from error
        _check_shape(pipeline, path)
        set_format(pipeline, target, pick_dtype(target) if dtype is None else dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def set_format(pipeline: Pipeline, device: torch.device, dtype: torch.dtype) -> None:
    """Move all networks of a Stable Diffusion pipeline, frozen and in eval mode.

    Parameters
    ----------
    pipeline : Pipeline
        A Stable Diffusion 1.x or 2.x pipeline.
    device : torch.device
        Where to.
    dtype : torch.dtype
        Number format of the weights.
    """
    with quiet_libraries():
        for name in _PARTS:
            network = getattr(pipeline, name)
            network.to(device=device, dtype=dtype)
            network.eval().requires_grad_(False)
        if device.type == "cpu":
            # faster convolutions at full resolution
            pipeline.vae.to(memory_format=torch.channels_last)
            _use_plain_attention(pipeline.unet)


def _use_plain_attention(unet: Any) -> None:
    """Use plain attention for small latents, where it trains faster on a CPU than fused attention.

    Models for large latents keep the fused one, because plain attention needs memory quadratic in
    the number of tokens.
    """
    if int(unet.config.sample_size) <= _PLAIN_ATTENTION:
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())


def model_fingerprint(model: str | Path) -> str:
    """Hexadecimal SHA-256 of a model's weights and settings (names and bytes of its files).

    The safety checker and files outside the folders of parts (model cards, previews) are left out.
    That of a single file is the SHA-256 of the file, unless the folder beside it has settings.

    Parameters
    ----------
    model : str or Path
        As in :func:`model_path`.

    Raises
    ------
    ModelError
        If the model does not exist.
    """
    path = model_path(model)
    if path.is_dir():
        return _digest(_part_files(path, _HASHED))
    own, settings = sha256_file(path), _settings_beside(path)
    return _digest(settings, f"{own}\0") if settings else own


def _settings_beside(path: Path) -> list[Path]:
    """The files in the folder beside a single file that decide how its weights are used."""
    beside = path.with_suffix("")
    if (beside / _INDEX).is_file():
        return [beside / _INDEX, *_part_files(beside, _SETTINGS)]
    # a vocabulary alone says nothing: it is always CLIP's, from wherever it is read
    schedule = scheduler_file(beside)
    return [schedule] if schedule.is_file() else []


def _part_files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files of a diffusers folder's parts, in the order in which they are hashed."""
    index = read_settings(folder / _INDEX)
    parts = [folder / part for part in sorted(set(index) - set(_UNUSED))]
    return [
        file
        for part in parts
        if part.is_dir()
        for file in sorted(part.iterdir())
        if file.suffix in endings
    ]


def _digest(files: list[Path], head: str = "") -> str:
    """SHA-256 of a text, then of the names and bytes of files."""
    digest = hashlib.sha256(head.encode())
    for file in files:
        # models may be renamed, so of model_index.json, which is in no part, the name alone
        name = file.name if file.name == _INDEX else f"{file.parent.name}/{file.name}"
        digest.update(f"{name}\0{sha256_file(file)}\0".encode())
    return digest.hexdigest()


def model_name(model: str | Path) -> str:
    """A short name without folders, for metadata and reports."""
    return str(model) if str(model) in BUNDLED else Path(model).stem


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Turn off progress bars and warnings of diffusers and transformers inside the block.

    Raises
    ------
    MissingExtraError
        If one of them is not installed.
    """
    try:
        from diffusers.utils import logging as diffusers_log
        from transformers.utils import logging as transformers_log
    except ImportError as error:
        raise MissingExtraError(error.name or "diffusers") from error
    logs = (diffusers_log, transformers_log)
    before = [(log, log.get_verbosity(), _bar_is_on(log)) for log in logs]
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, bar in before:
            log.set_verbosity(verbosity)
            if bar:
                log.enable_progress_bar()


def _bar_is_on(log: Any) -> bool:
    """Whether a library shows progress bars; old versions cannot say."""
    probe = getattr(log, "is_progress_bar_enabled", None)
    return bool(probe()) if probe is not None else True


def _from_folder(path: Path) -> Pipeline:
    """The pipeline in a diffusers folder, each part loaded strictly."""
    import diffusers
    import transformers

    index = read_settings(path / _INDEX)
    kind = index.get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise ModelError(
            f"{path} is a {kind}; expected a StableDiffusionPipeline (Stable Diffusion 1.x, 2.x or "
            "the pocket model)."
        )
    libraries = {"diffusers": diffusers, "transformers": transformers}
    parts: dict[str, Any] = {}
    for name, (library, pattern) in _CLASSES.items():
        found = index.get(name)
        named = found if isinstance(found, list) and len(found) == 2 else ("nothing", "nothing")
        class_name = str(named[1])
        if named[0] != library or not re.fullmatch(pattern, class_name):
            raise ModelError(
                f"{path} has {named[1]} from {named[0]} as its {name}; expected a class of "
                f"{library} that matches {pattern}."
            )
        part = getattr(libraries[library], class_name)
        if name not in _PARTS:
            parts[name] = part.from_pretrained(path / name, local_files_only=True)
            continue
        parts[name] = load_network(part, path / name)
    return diffusers.StableDiffusionPipeline(
        **parts,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def load_network(kind: Any, folder: Path) -> Any:
    """Load a network from local safetensors files that fit it exactly.

    The libraries themselves only warn of weights that do not fit, and fill missing ones with random
    numbers.

    Parameters
    ----------
    kind : type
        A model class of diffusers or transformers.
    folder : Path
        Its settings and weights.

    Raises
    ------
    ModelError
        If weights are missing, left over or of another shape.
    """
    network, info = kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    wrong = [*info["missing_keys"], *info["unexpected_keys"], *info["mismatched_keys"]]
    wrong = [str(key) for key in wrong if not str(key).endswith("position_ids")]
    if wrong:
        raise ModelError(
            f"The weights of {folder} don't fit its settings: {', '.join(wrong[:8])}"
            f"{' and more' if len(wrong) > 8 else ''} are missing or left over."
        )
    return network


def prediction_type(pipeline: Pipeline) -> str:
    """What a pipeline's UNet predicts: ``epsilon`` or ``v_prediction``.

    Raises
    ------
    ModelError
        If it is anything else.
    """
    kind = str(pipeline.scheduler.config.prediction_type)
    if kind not in ("epsilon", "v_prediction"):
        raise ModelError(
            f"The model predicts {kind!r}; expected 'epsilon' or 'v_prediction'. "
            "Use a Stable Diffusion 1.x or 2.x model."
        )
    return kind


def _check_shape(pipeline: Pipeline, path: Path) -> None:
    """Refuse incomplete pipelines and those that do not make pictures from text alone."""
    missing = [n for n in (*_PARTS, "tokenizer", "scheduler") if getattr(pipeline, n, None) is None]
    if missing:
        raise ModelError(f"{path} has no {', '.join(missing)}; expected a complete pipeline.")
    wants = int(pipeline.unet.config.in_channels)
    gives = int(pipeline.vae.config.latent_channels)
    if wants != gives:
        raise ModelError(
            f"The UNet of {path} takes {wants} channels but its autoencoder gives {gives}; "
            "expected a text-to-image model (inpainting and depth models can't be used)."
        )
    prediction_type(pipeline)
