"""Write what a run trained, in the usual format of its method, and find finished runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from siren_ext.adapters.files import CUSTOM_WEIGHTS, EMBEDDING_WEIGHTS
from siren_ext.adapters.read import read_summary
from siren_ext.adapters.summary import AdapterSummary
from siren_ext.adapters.write import check_finite, save_kohya, save_plain
from siren_ext.diffusion import pipelines
from siren_ext.diffusion.load import Pipeline, quiet_libraries
from siren_ext.documents import read_json
from siren_ext.errors import ConfigError, SirenError
from siren_ext.files import is_file, is_folder, is_present, real_path, sibling, write_json
from siren_ext.personalize.checkpoint import SUFFIX, check_single, original_weights
from siren_ext.personalize.config import FOLDERS, WHOLE_MODELS, PersonalizeConfig
from siren_ext.personalize.cross_attention import CustomWeights
from siren_ext.personalize.lora import LoraWeights
from siren_ext.personalize.record import RECORD, RUN_KEY
from siren_ext.personalize.spectral import SpectralWeights
from siren_ext.personalize.weights import VectorWeights, WholeWeights
from siren_ext.personalize.word import WordWeights

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_MAX_RECORD = 16 << 20
_WRITTEN = {
    RECORD, CUSTOM_WEIGHTS, EMBEDDING_WEIGHTS, "model_index.json", "unet", "vae", "text_encoder",
    "tokenizer", "scheduler", "feature_extractor", "safety_checker", "image_encoder",
}  # fmt: skip
"""Everything that a run may write into a folder."""
_COUNT = "siren_parameters"
_FINGERPRINT = "siren_fingerprint"


def make_weights(pipeline: Pipeline, config: PersonalizeConfig) -> VectorWeights:
    """Prepare a pipeline for a method, and give the weights that it trains.

    Parameters
    ----------
    pipeline : Pipeline
        The base model, which is changed.
    config : PersonalizeConfig
        The settings.

    Raises
    ------
    ConfigError
        If the new word is known already.
    ModelError
        If the model lacks what the method trains.
    MissingExtraError
        If peft is not installed.
    """
    if config.method in WHOLE_MODELS:
        return WholeWeights(pipeline, text=config.train_text_encoder)
    if config.method == "svdiff":
        return SpectralWeights(pipeline)
    if config.method == "textual-inversion":
        return WordWeights(pipeline, config)
    if config.method == "custom-diffusion":
        return CustomWeights(pipeline, config)
    return LoraWeights(pipeline, config)


def writes_file(out: Path, config: PersonalizeConfig) -> bool:
    """Whether a run writes one file, and not a folder.

    Parameters
    ----------
    out : Path
        What it writes.
    config : PersonalizeConfig
        Gives the method. Methods that write a whole model go by the name.
    """
    return config.method not in FOLDERS or (config.method in WHOLE_MODELS and out.suffix == SUFFIX)


def check_out(out: Path, config: PersonalizeConfig, base: str | Path = "") -> None:
    """Refuse a name that does not suit the method, the base model, and a folder with other files.

    Parameters
    ----------
    out : Path
        The file or folder that will be written.
    config : PersonalizeConfig
        Gives the method.
    base : str | Path
        The model that is personalised.

    Raises
    ------
    ConfigError
        If it can't be written.
    """
    if base and is_present(Path(base)) and real_path(Path(base)) == real_path(out):
        raise ConfigError(
            f"{out} is the base model itself, which must not be replaced. Choose another name."
        )
    if out.name in ("", ".."):  # it is replaced as a whole, and its state is kept beside it
        raise ConfigError(
            f"{out} is not a name for a file; expected the name of a new file or folder."
        )
    # both before hours of training; libraries neither read nor write paths that are not UTF-8
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{out} can't be written: its path is not UTF-8 text, which the model libraries need. "
            "Choose another name."
        ) from None
    place = next((one for one in out.absolute().parents if is_folder(one)), None)
    if place is not None and not os.access(place, os.W_OK):
        raise ConfigError(
            f"{out} can't be written: {place} is read-only. Choose another place, or check the "
            "permissions."
        )
    if config.method not in FOLDERS:
        if out.suffix != SUFFIX:
            raise ConfigError(
                f"{out.name} can't be an adapter file; expected a name ending in .safetensors."
            )
        return
    if writes_file(out, config):
        if is_folder(out):
            raise ConfigError(f"{out} is a folder; expected the name of a file to write.")
        return
    if out.suffix == SUFFIX or (is_present(out) and not is_folder(out)):
        whole = config.method in WHOLE_MODELS
        raise ConfigError(
            f"{out} can't be a folder, and {config.method} writes one; expected the name of a new "
            f"folder, {'or of a file ending in' if whole else 'without'} .safetensors."
        )
    if is_folder(out) and (there := {entry.name for entry in out.iterdir()}):
        strange = sorted(there - _WRITTEN) if RUN_KEY in _record(out) else sorted(there)
        if strange:
            raise ConfigError(
                f"{out} already has other files, such as {strange[0]}, which were not replaced; "
                "expected a new or empty folder, or one that the same command wrote. Choose "
                "another name."
            )


def check_written(out: Path, pipeline: Pipeline, config: PersonalizeConfig) -> None:
    """Refuse to train a model that could not be written as one file.

    Parameters
    ----------
    out : Path
        The file or folder that will be written; :func:`check_out` accepts it.
    pipeline : Pipeline
        The base model.
    config : PersonalizeConfig
        Gives the method.

    Raises
    ------
    ModelError
        If a whole model is wanted in one file, and it is not Stable Diffusion 1.x.
    """
    if config.method in WHOLE_MODELS and writes_file(out, config):
        check_single(pipeline)


def finished(
    out: Path, run: str, config: PersonalizeConfig, *, force: bool = False
) -> AdapterSummary | None:
    """What was written, if it is the result of the same run.

    Parameters
    ----------
    out : Path
        The file or folder.
    run : str
        The signature of the run.
    config : PersonalizeConfig
        Gives the method.
    force : bool
        Allow a model of another run or program there.

    Raises
    ------
    ConfigError
        If there is one.
    """
    if not is_present(out) or _record(out).get(RUN_KEY) != run:
        if not force:
            _refuse_other(out)
        return None
    try:
        if config.method not in WHOLE_MODELS:
            return read_summary(out)
        found = _model_summary(out)
        return found if _record(out).get(_FINGERPRINT, found.hash) == found.hash else None
    except SirenError:
        return None  # damaged, and overwritten


def _refuse_other(out: Path) -> None:
    """Refuse what is there, unless it is empty."""
    if is_folder(out):
        empty = not any(out.iterdir())
    else:
        empty = not is_file(out) or out.stat().st_size == 0
    if not empty:
        raise ConfigError(
            f"{out} already exists, but it is damaged, or was not made from these images, this "
            "model and these settings (with the number format of this device). It was not "
            "overwritten; choose a new name, or add --force to 'siren-ext personalize'."
        )


def save(
    out: Path,
    pipeline: Pipeline,
    weights: VectorWeights,
    config: PersonalizeConfig,
    facts: dict[str, str],
) -> AdapterSummary:
    """Write the result of a run.

    Parameters
    ----------
    out : Path
        The file or folder; an earlier result is replaced.
    pipeline : Pipeline
        The trained pipeline. A method that writes a whole model converts it to ``save_precision``.
    weights : VectorWeights
        From :func:`make_weights`.
    config : PersonalizeConfig
        The settings.
    facts : dict of str to str
        Metadata.

    Returns
    -------
    AdapterSummary
        What was written.

    Raises
    ------
    AdapterError
        If values are not finite.
    """
    dtype = _DTYPES[config.save_precision]
    if isinstance(weights, LoraWeights):
        return save_kohya(out, weights.modules(), facts, dtype=dtype)
    if isinstance(weights, SpectralWeights):
        save_plain(out, weights.tensors(), facts, dtype=dtype)
        return read_summary(out)
    if isinstance(weights, WordWeights) and not isinstance(weights, CustomWeights):
        save_plain(out, {weights.word: weights.vectors()}, facts, dtype=dtype)
        return read_summary(out)
    check_finite({"the trained weights": weights.vector.detach()})
    count = str(weights.vector.numel())
    if writes_file(out, config):
        _in_format(pipeline, weights, dtype)
        save_plain(out, original_weights(pipeline), {**facts, _COUNT: count}, dtype=dtype)
        return _model_summary(out)
    place = real_path(out)  # a link stays, and its target is replaced
    new = sibling(place, ".new", ".")
    shutil.rmtree(new, ignore_errors=True)  # of a killed run; only one run has this output
    new.mkdir(parents=True)
    try:
        if isinstance(weights, CustomWeights):
            save_plain(new / CUSTOM_WEIGHTS, weights.tensors(), facts, dtype=dtype)
            word = {weights.word: weights.vectors()}
            save_plain(new / EMBEDDING_WEIGHTS, word, facts, dtype=dtype)
        else:
            _save_model(new, pipeline, weights, dtype)
            facts = {**facts, _FINGERPRINT: pipelines.model_fingerprint(new)}
        write_json(new / RECORD, {**facts, _COUNT: count})
        _replace_folder(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if isinstance(weights, CustomWeights):
        return read_summary(out)
    return _model_summary(out, facts[_FINGERPRINT])


def _save_model(
    folder: Path, pipeline: Pipeline, weights: VectorWeights, dtype: torch.dtype
) -> None:
    """Write the whole pipeline, as diffusers does."""
    _in_format(pipeline, weights, dtype)
    with quiet_libraries():
        pipeline.save_pretrained(folder, safe_serialization=True)


def _in_format(pipeline: Pipeline, weights: VectorWeights, dtype: torch.dtype) -> None:
    """Convert the networks, with trained weights from float32."""
    with quiet_libraries():
        for network in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            network.to(dtype=dtype, memory_format=torch.contiguous_format)
    weights.push()  # not from what the run's format left of them


def _replace_folder(new: Path, out: Path) -> None:
    """Put a folder in the place of an earlier result, which is deleted after that."""
    old = sibling(out, ".old", ".")
    shutil.rmtree(old, ignore_errors=True)
    if is_present(out):
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _record(out: Path) -> dict[str, str]:
    """The metadata of an earlier result; empty if there are none."""
    try:
        if is_file(out):
            with safe_open(str(out), framework="pt") as stream:
                return dict(stream.metadata() or {})
        if not is_file(out / RECORD):
            return {}
        found = read_json(
            out / RECORD, error=ConfigError, max_bytes=_MAX_RECORD, name=RECORD,
            advice="Choose another folder.",
        )  # fmt: skip
    except (SafetensorError, OSError, ConfigError):
        return {}
    return found if isinstance(found, dict) else {}


def _model_summary(out: Path, fingerprint: str = "") -> AdapterSummary:
    """The summary of a whole model, whose hash is its fingerprint, calculated if not given."""
    facts = {key: str(value) for key, value in _record(out).items()}
    parameters = int(facts.get(_COUNT, "0"))
    return AdapterSummary(
        path=out,
        hash=fingerprint or pipelines.model_fingerprint(out),
        modules=0,
        text_modules=0,
        parameters=parameters,
        ranks=(),
        style="diffusers model" if is_folder(out) else "checkpoint",
        kinds={},
        words=(),
        leftovers=(),
        metadata=facts,
    )
