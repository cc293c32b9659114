"""Text-to-image pipelines of any family, loaded from local folders and called through diffusers.

Stable Diffusion 1.x and 2.x have their own loader (:mod:`siren_ext.diffusion.load`), because
training needs their parts. A suspect only has to make pictures, so any pipeline that diffusers'
``AutoPipelineForText2Image`` knows is accepted, and VQ-Diffusion, which is missing there.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from siren_ext.devices import pick_device, pick_dtype
from siren_ext.diffusion.load import (
    Pipeline,
    load_network,
    load_pipeline,
    model_path,
    quiet_libraries,
    set_format,
)
from siren_ext.diffusion.single_file import load_single_file, read_settings, single_file_class
from siren_ext.errors import ConfigError, MissingExtraError, ModelError

STABLE = "StableDiffusionPipeline"
_UNLISTED = ("VQDiffusionPipeline",)
_HALVES = ("KandinskyPipeline", "KandinskyV22Pipeline", "WuerstchenDecoderPipeline",
           "StableCascadeDecoderPipeline")  # fmt: skip
# not loaded: safety checkers replace pictures with black ones, and only some releases have them
_LEFT_OUT = ("safety_checker", "watermarker")
_OPTIONS = {"requires_safety_checker": False, "add_watermarker": False}
# settings of every prompt plan, and their names in diffusers
_KEYWORDS = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
# what diffusers and transformers raise for settings that don't fit each other
LIBRARY_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError, ImportError, IndexError,
)  # fmt: skip


def load_any_pipeline(
    model: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> Pipeline:
    """Load a text-to-image pipeline of any family, frozen and in eval mode, from local files only.

    Nothing is downloaded, and neither pickles nor code in the folder are loaded.

    Parameters
    ----------
    model : str or Path
        As in :func:`~siren_ext.diffusion.load.load_pipeline`, or the diffusers folder of another
        family (Stable Diffusion XL and 3, LCM, Kandinsky, Flux, VQ-Diffusion, ...).
    device : str or torch.device
        Where to put it; ``auto`` as in :func:`siren_ext.devices.pick_device`.
    dtype : torch.dtype or None
        Number format of the weights; None takes the fastest format of the device.

    Raises
    ------
    ModelError
        If the model is missing, unreadable or of an unknown family, or if weights are missing or
        left over.
    MissingExtraError
        If diffusers or transformers is not installed.
    """
    path = model_path(model)
    if (name := _class_names(path)[0]) == STABLE:
        return load_pipeline(model, device=device, dtype=dtype)
    target = torch.device(device) if isinstance(device, torch.device) else pick_device(device)
    with quiet_libraries():
        try:
            folder = path.is_dir()
            kind = _pipeline_class(path, name) if folder else None
            pipeline = assemble(path, kind) if folder else load_single_file(path, only=None)
        except LIBRARY_ERRORS as error:
            reason = str(error)[:500]
            raise ModelError(f"{path} can't be loaded as a diffusion model: {reason}.") from error
        place(pipeline, target, pick_dtype(target) if dtype is None else dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def family(pipeline: Pipeline) -> str:
    """Name of a pipeline's class, such as ``StableDiffusionXLPipeline``."""
    return type(pipeline).__name__


def is_stable(pipeline: Pipeline) -> bool:
    """Whether training and :mod:`siren_ext.diffusion.sampling` can use the pipeline."""
    return family(pipeline) == STABLE


def describe_model(model: str | Path) -> dict[str, Any]:
    """Facts about a model for the record of a run; loads no weights.

    Parameters
    ----------
    model : str or Path
        As in :func:`load_any_pipeline`.

    Returns
    -------
    dict
        ``sampler``; for other families than Stable Diffusion 1.x and 2.x also ``family`` and, if
        the pipeline ignores some settings of a prompt plan, these as ``unused``.

    Raises
    ------
    ModelError
        If the model is missing or of an unknown family.
    """
    path = model_path(model)
    name, sampler = _class_names(path)
    if name == STABLE:
        return {"sampler": "ddim"}
    known = _settings(_pipeline_class(path, name))
    facts: dict[str, Any] = {"family": name, "sampler": sampler}
    unused = [setting for setting, keyword in _KEYWORDS.items() if keyword not in known]
    return {**facts, "unused": unused} if unused else facts


def place(pipeline: Pipeline, device: torch.device, dtype: torch.dtype) -> None:
    """Move all networks of a pipeline of any family, frozen and in eval mode.

    Parameters
    ----------
    pipeline : Pipeline
        A pipeline of any family.
    device : torch.device
        Where to.
    dtype : torch.dtype
        Number format of the weights.
    """
    if is_stable(pipeline):
        set_format(pipeline, device, dtype)
        return
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device=device, dtype=dtype)
            part.eval().requires_grad_(False)


def takes_size(pipeline: Pipeline) -> bool:
    """Whether a pipeline can make pictures of other sizes than its own."""
    return _settings(type(pipeline)) >= {"height", "width"}


def check_request(pipeline: Pipeline, *, size: int, negative: str, sampler: str) -> None:
    """Refuse settings that a pipeline would silently ignore.

    Parameters
    ----------
    pipeline : Pipeline
        A pipeline of another family than Stable Diffusion 1.x and 2.x.
    size : int
        Requested side in pixels, or 0.
    negative : str
        Requested negative prompt, or empty.
    sampler : str
        Requested sampler, or empty.

    Raises
    ------
    ConfigError
        If the pipeline does not support one of them.
    """
    known, name = _settings(type(pipeline)), family(pipeline)
    if size and not takes_size(pipeline):
        raise ConfigError(
            f"A size of {size} was requested, but {name} has only one size. Leave the size out."
        )
    # Flux uses it only with a second kind of guidance, which costs twice the time
    if negative and ("negative_prompt" not in known or "true_cfg_scale" in known):
        raise ConfigError(f"{name} takes no negative prompt. Leave it out.")
    if sampler:
        raise ConfigError(
            f"The sampler {sampler!r} was requested, but {name} always uses its own. Leave the "
            "sampler out."
        )


@torch.no_grad()
def draw(
    pipeline: Pipeline,
    prompt: str,
    seed: int,
    *,
    steps: int,
    guidance: float,
    size: int = 0,
    negative: str = "",
) -> Tensor:
    """Make one picture, which depends on the prompt, the seed and the settings only.

    Settings that the pipeline does not take are left out: :func:`check_request` refuses those that
    the user requested, and :func:`describe_model` lists the others.

    Parameters
    ----------
    pipeline : Pipeline
        A pipeline of any family.
    prompt : str
        What to show.
    seed : int
        Seed of all random numbers; drawn on the CPU where possible, so it means the same on every
        device.
    steps : int
        Number of denoising steps.
    guidance : float
        Scale of classifier-free guidance.
    size : int
        Side in pixels; 0 takes the model's own.
    negative : str
        Negative prompt; empty for none.

    Returns
    -------
    Tensor
        3 x H x W in [0,1].

    Raises
    ------
    ConfigError
        If the pipeline refuses the settings or makes a picture of another size.
    ModelError
        If the picture is not finite, or the GPU runs out of memory.
    """
    asked: dict[str, Any] = {"prompt": prompt, "output_type": "np"}
    asked |= {_KEYWORDS["steps"]: steps, _KEYWORDS["guidance"]: guidance}
    asked |= {"height": size, "width": size} if size else {}
    asked |= {"negative_prompt": negative} if negative else {}
    # random numbers of the CPU are the same with every device; VQ-Diffusion does not accept them
    source = pipeline.device if family(pipeline) in _UNLISTED else "cpu"
    asked["generator"] = torch.Generator(source).manual_seed(seed)
    image = call_pipeline(pipeline, asked, f"{steps} steps, guidance {guidance:g} and size "
                    f"{size or 'its own'}")  # fmt: skip
    if size and image.shape[1:] != (size, size):
        raise ConfigError(
            f"{family(pipeline)} made a picture of {image.shape[2]}x{image.shape[1]} pixels "
            f"instead of {size}x{size}; choose a size that it supports (often a multiple of 16)."
        )
    return image.clamp(0, 1)


def call_pipeline(pipeline: Pipeline, asked: dict[str, Any], how: str) -> Tensor:
    """The picture that a pipeline makes; it is told the settings that it takes.

    Parameters
    ----------
    pipeline : Pipeline
        A pipeline of any family.
    asked : dict
        Settings by their names in diffusers.
    how : str
        The settings in words, for messages.

    Returns
    -------
    Tensor
        3 x H x W.

    Raises
    ------
    ConfigError, ModelError
        As of :func:`draw`.
    """
    known = _settings(type(pipeline))
    try:
        with quiet_libraries(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to the authors of diffusers' own pipelines
            made = pipeline(**{name: value for name, value in asked.items() if name in known})
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            f"{family(pipeline)} needs more memory than this GPU has free for one picture. Use a "
            "smaller size, or --device cpu."
        ) from error
    except LIBRARY_ERRORS as error:
        raise ConfigError(
            f"{family(pipeline)} can't make a picture with {how}: {str(error)[:300]}."
        ) from error
    image = torch.as_tensor(made.images[0]).permute(2, 0, 1).float()
    if not bool(torch.isfinite(image).all()):
        raise ModelError(
            f"{family(pipeline)} gave a picture of NaN or infinite values; its autoencoder can't "
            "compute in this number format. Use float32."
        )
    return image


def _settings(kind: type) -> frozenset[str]:
    """Names of the settings that pipelines of a class take."""
    return frozenset(inspect.signature(kind.__call__).parameters)


def _class_names(path: Path) -> tuple[str, str]:
    """Names of a model's pipeline and scheduler classes; loads no weights."""
    if not path.is_dir():
        return single_file_class(path)
    index = read_settings(path / "model_index.json")
    scheduler = index.get("scheduler")
    named = scheduler if isinstance(scheduler, list) and len(scheduler) == 2 else ["", "its own"]
    return str(index.get("_class_name")), str(named[1])


def assemble(path: Path, kind: Any) -> Pipeline:
    """The pipeline that a folder describes, each part loaded strictly.

    Parameters
    ----------
    path : Path
        The folder.
    kind : type
        Its class.

    Raises
    ------
    ModelError
        If a part is left over, missing or of an unknown kind.
    """
    index = read_settings(path / "model_index.json")
    wanted = inspect.signature(kind.__init__).parameters
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if name not in wanted:
            if isinstance(entry, list) and entry != [None, None]:
                raise ModelError(f"{path} has a part {name}, which {kind.__name__} does not use.")
        elif not isinstance(entry, list):
            parts[name] = entry
        elif name in _LEFT_OUT or entry == [None, None]:
            parts[name] = None
        else:
            parts[name] = _load_part(path / name, entry, kind)
    parts |= {name: value for name, value in _OPTIONS.items() if name in wanted}
    return kind(**parts)


def _pipeline_class(path: Path, name: str) -> Any:
    """The pipeline class of that name, if it is a known text-to-image pipeline."""
    try:
        import diffusers
        from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as LISTED
    except ImportError as error:
        raise MissingExtraError(error.name or "diffusers") from error
    known = {kind.__name__: kind for kind in LISTED.values() if "Control" not in kind.__name__}
    known |= {extra: getattr(diffusers, extra) for extra in _UNLISTED if hasattr(diffusers, extra)}
    if name in known:
        return known[name]
    advice = "Use another folder, or a newer version of diffusers."
    if name in _HALVES:
        advice = (
            "It is only half of a pair; load both halves with diffusers' "
            "AutoPipelineForText2Image and save that pipeline to one folder."
        )
    raise ModelError(
        f"{path} is a {str(name)[:100]}; expected a text-to-image pipeline that the installed "
        f"diffusers knows, such as Stable Diffusion 1.x, 2.x, XL or 3, LCM, Kandinsky or Flux. "
        f"{advice}"
    )


def _load_part(folder: Path, entry: list[Any], pipeline: Any) -> Any:
    """One part of a pipeline, if its class is a known kind of part."""
    import diffusers
    import transformers
    from diffusers.models.modeling_utils import ModelMixin

    library, name = (str(word) for word in entry) if len(entry) == 2 else ("", "")
    named = {"diffusers": diffusers, "transformers": transformers}.get(library)
    # classes of a single family are defined in the module of its pipeline, or beside it
    homes = (named, getattr(diffusers.pipelines, library, None), sys.modules[pipeline.__module__])
    kind: Any = next((getattr(home, name) for home in homes if hasattr(home, name)), None)
    bases = (
        transformers.PreTrainedTokenizerBase,
        diffusers.SchedulerMixin,
        transformers.image_processing_utils.BaseImageProcessor,
        transformers.FeatureExtractionMixin,
        transformers.ProcessorMixin,
    )
    network = isinstance(kind, type) and issubclass(
        kind, (ModelMixin, transformers.PreTrainedModel)
    )
    if not network and not (isinstance(kind, type) and issubclass(kind, bases)):
        raise ModelError(
            f"{folder.parent} has {str(name)[:80]} from {str(library)[:80]} as its "
            f"{folder.name}; expected a model, tokenizer, scheduler or image processor of "
            "diffusers or transformers. Nothing else is loaded, because it could run code."
        )
    if not network:
        # without this, transformers may ask on the terminal
        trust = {} if issubclass(kind, diffusers.SchedulerMixin) else {"trust_remote_code": False}
        return kind.from_pretrained(folder, local_files_only=True, **trust)
    return load_network(kind, folder)
