"""The stand-in model of a coater's training: the base model, personalised with the clean images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.files import is_file, is_folder, is_present, sha256_file
from siren_ext.personalize.config import WHOLE_MODELS, WITH_PRIOR, WITH_TOKEN, PersonalizeConfig
from siren_ext.progress import Progress
from siren_ext.training.prompts import class_prompt

if TYPE_CHECKING:
    import torch

    from siren_ext.diffusion.load import Pipeline
    from siren_ext.training.surrogate import DiffusionSurrogate


def surrogate_file(coater: Path, method: str = "lora") -> Path:
    """Where training leaves what it learnt from the clean images.

    Parameters
    ----------
    coater : Path
        The coater's file.
    method : str
        How the stand-in is personalised.

    Returns
    -------
    Path
        ``<stem>.surrogate.safetensors`` beside it, or the folder ``<stem>.surrogate`` for methods
        that train the whole model.
    """
    ending = "" if method in WHOLE_MODELS else ".safetensors"
    return coater.with_name(f"{coater.stem}.surrogate{ending}")


def found_surrogate(coater: Path) -> Path:
    """Where training has left the stand-in of a coater: the file, unless only the folder is there.

    Parameters
    ----------
    coater : Path
        The coater's file.
    """
    file, folder = surrogate_file(coater), surrogate_file(coater, WHOLE_MODELS[0])
    return folder if is_folder(folder) and not is_file(file) else file


def stand_in_settings(config: PersonalizeConfig | None, class_word: str) -> PersonalizeConfig:
    """Settings of a stand-in, with a prompt for class images if the method needs them.

    Parameters
    ----------
    config : PersonalizeConfig or None
        The settings; None for the defaults.
    class_word : str
        The noun for what the images show.

    Raises
    ------
    ConfigError
        If the class word is empty, or the method learns a new word, which captions don't have.
    """
    config = config or PersonalizeConfig()
    if config.method in WITH_TOKEN:
        raise ConfigError(
            f"The stand-in's method is {config.method}, but that learns a new word that captions "
            "would have to contain; expected lora, svdiff, dreambooth or full."
        )
    if config.method in WITH_PRIOR and config.class_prompt is None:
        return replace(config, class_prompt=class_prompt(class_word))
    return config


def personalised(
    data: ImageSet,
    base: str | Path,
    prompt: str,
    config: PersonalizeConfig,
    place: Path,
    device: str,
    progress: Progress,
    *,
    stopped: Path | None = None,
) -> DiffusionSurrogate:
    """The base model, personalised with the clean images unless ``place`` is there already.

    Parameters
    ----------
    data : ImageSet
        The images.
    base : str or Path
        The base model.
    prompt : str
        Their caption if one has none.
    config : PersonalizeConfig
        From :func:`stand_in_settings`.
    place : Path
        From :func:`surrogate_file`.
    device : str
        auto or a torch device name.
    progress : Progress
        One unit per step.
    stopped : Path | None
        State of a stopped training against the stand-in; it may be missing.

    Raises
    ------
    CoaterError
        If there is such a state, and it was trained against another stand-in, which is kept.
    """
    from siren_ext.devices import pick_device
    from siren_ext.personalize.run import is_finished, personalize
    from siren_ext.training.state import other_run_error
    from siren_ext.training.surrogate import DiffusionSurrogate

    if config.prompt is None and not all(item.caption for item in data.items):
        config = replace(config, prompt=prompt)
    given = (data, base, config, place)
    if stopped is not None and is_present(stopped) and not is_finished(*given, device=device):
        raise other_run_error(stopped)
    # the coater is refused before if it is another one's, so this can only be left over
    personalize(*given, device=device, progress=progress, force=True)
    pipeline = load_stand_in(base, place, pick_device(device))
    captions, identity = data.captions(default=prompt), stand_in_identity(base, place)
    return DiffusionSurrogate(pipeline, prompt, captions, identity=identity)


def load_stand_in(base: str | Path, place: Path, device: torch.device) -> Pipeline:
    """The pipeline of a stand-in.

    Parameters
    ----------
    base : str or Path
        The base model; not used for a folder.
    place : Path
        A LoRA or SVDiff file, or the folder of a whole model.
    device : torch.device
        Where to put it.
    """
    from siren_ext.adapters.merge import load_adapter
    from siren_ext.devices import pick_dtype
    from siren_ext.diffusion.load import load_pipeline

    dtype = pick_dtype(device)
    if is_folder(place):
        return load_pipeline(place, device=device, dtype=dtype)
    pipeline: Any = load_pipeline(base, device=device, dtype=dtype)
    load_adapter(pipeline, place)
    return pipeline


def surrogate_hash(place: Path) -> str:
    """SHA-256 of a stand-in's file, or the fingerprint of its folder.

    Parameters
    ----------
    place : Path
        The file or folder.
    """
    from siren_ext.diffusion.load import model_fingerprint

    return model_fingerprint(place) if is_folder(place) else sha256_file(place)


def stand_in_identity(base: str | Path, place: Path) -> str:
    """What tells a stand-in from others: hashes of its files, and of its base model if it has one.

    Parameters
    ----------
    base, place
        As in :func:`load_stand_in`.
    """
    from siren_ext.diffusion.load import model_fingerprint

    own = surrogate_hash(place)
    return own if is_folder(place) else f"{model_fingerprint(base)} {own}"
