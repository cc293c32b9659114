"""Text-to-image pipelines of any family, from local folders, asked as their libraries mean it.

Stable Diffusion 1.x and 2.x have a loader of their own (:mod:`siren_ext.diffusion.load`), since
training needs their parts. A suspect only has to make pictures: what diffusers'
``AutoPipelineForText2Image`` knows will do, and VQ-Diffusion, which it leaves out.
"""

from __future__ import annotations

import inspect
import json
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
from siren_ext.diffusion.single_file import load_single_file, single_file_class
from siren_ext.errors import ConfigError, MissingExtraError, ModelError
from siren_ext.text import printable

STABLE = "StableDiffusionPipeline"
_UNLISTED = ("VQDiffusionPipeline",)
_HALVES = ("KandinskyPipeline", "KandinskyV22Pipeline", "WuerstchenDecoderPipeline",
           "StableCascadeDecoderPipeline")  # fmt: skip
# checkers replace pictures by black ones, and only some releases carry them
_LEFT_OUT = ("safety_checker", "watermarker")
_OPTIONS = {"requires_safety_checker": False, "add_watermarker": False}
# settings of a plan that every plan has, and their names in diffusers
_KEYWORDS = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
# what diffusers and transformers raise for settings that don't fit each other
_LIBRARY_ERRORS = (
    OSError, ValueError, KeyError, RuntimeError, AttributeError, TypeError, ImportError, IndexError,
)  # fmt: skip


def load_any_pipeline(
    model: str | Path,
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> Pipeline:
    """A frozen text-to-image pipeline in eval mode, from local files only.

    ``model``: what :func:`~siren_ext.diffusion.load.load_pipeline` takes, or the diffusers
    folder of another family (Stable Diffusion XL and 3, LCM, Kandinsky, Flux, VQ-Diffusion, ...).
    ``dtype`` None: the fastest format of the device. Weights that are missing or left over are an
    error; nothing is downloaded, and neither pickles nor code of the folder are read. Raises
    :class:`ModelError`, :class:`MissingExtraError`.
    """
    path = model_path(model)
    if _class_names(path)[0] == STABLE:
        return load_pipeline(model, device=device, dtype=dtype)
    target = torch.device(device) if isinstance(device, torch.device) else pick_device(device)
    with quiet_libraries():
        try:
            pipeline = _assemble(path) if path.is_dir() else load_single_file(path, only=None)
        except _LIBRARY_ERRORS as error:
            reason = printable(str(error))[:500]
            raise ModelError(f"{path} can't be loaded as a diffusion model: {reason}.") from error
        place(pipeline, target, pick_dtype(target) if dtype is None else dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def family(pipeline: Pipeline) -> str:
    """The name of a pipeline's class, such as ``StableDiffusionXLPipeline``."""
    return type(pipeline).__name__


def is_stable(pipeline: Pipeline) -> bool:
    """Whether training and :mod:`siren_ext.diffusion.sampling` can use the pipeline."""
    return family(pipeline) == STABLE


def describe_model(model: str | Path) -> dict[str, Any]:
    """Family, sampler and settings without a use, for the record; loads no weights."""
    path = model_path(model)
    name, sampler = _class_names(path)
    if name == STABLE:
        return {"sampler": "ddim"}
    known = _settings(_pipeline_class(path, name))
    facts: dict[str, Any] = {"family": name, "sampler": sampler}
    unused = [setting for setting, keyword in _KEYWORDS.items() if keyword not in known]
    return {**facts, "unused": unused} if unused else facts


def place(pipeline: Pipeline, device: torch.device, dtype: torch.dtype) -> None:
    """Move all networks of a pipeline of any family to ``device`` and ``dtype``, frozen."""
    if is_stable(pipeline):
        set_format(pipeline, device, dtype)
        return
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device=device, dtype=dtype)
            part.eval().requires_grad_(False)


def takes_size(pipeline: Pipeline) -> bool:
    """Whether a pipeline makes pictures of other sizes than its own."""
    return _settings(type(pipeline)) >= {"height", "width"}


def check_request(pipeline: Pipeline, *, size: int, negative: str, sampler: str) -> None:
    """Refuse what a pipeline would leave out without a word; raises :class:`ConfigError`."""
    known, name = _settings(type(pipeline)), family(pipeline)
    if size and not takes_size(pipeline):
        raise ConfigError(
            f"A size of {size} is asked for, but {name} has one size only. Leave the size out."
        )
    # Flux uses it only with a second kind of guidance, which costs twice the time
    if negative and ("negative_prompt" not in known or "true_cfg_scale" in known):
        raise ConfigError(f"{name} takes no negative prompt. Leave it out.")
    if sampler:
        raise ConfigError(
            f"The sampler is {sampler!r}; {name} is sampled as its own settings say. Leave the "
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
    """One picture (3, H, W) in [0,1]: a function of the prompt, the seed and the settings alone.

    Settings that the pipeline doesn't take are left out: :func:`check_request` refuses those that
    somebody asked for, :func:`describe_model` tells the others. ``size`` 0 is the model's own.
    Raises :class:`ConfigError` when the pipeline refuses the settings or makes another size,
    :class:`ModelError` when it gives numbers that are no picture.
    """
    known = _settings(type(pipeline))
    asked: dict[str, Any] = {"prompt": prompt, "output_type": "np"}
    asked |= {_KEYWORDS["steps"]: steps, _KEYWORDS["guidance"]: guidance}
    asked |= {"height": size, "width": size} if size else {}
    asked |= {"negative_prompt": negative} if negative else {}
    # drawn on the CPU, so that a seed means the same on every device; VQ-Diffusion can't do that
    source = pipeline.device if family(pipeline) in _UNLISTED else "cpu"
    asked["generator"] = torch.Generator(source).manual_seed(seed)
    try:
        with quiet_libraries(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to the authors of diffusers' own pipelines
            made = pipeline(**{name: value for name, value in asked.items() if name in known})
    except torch.cuda.OutOfMemoryError as error:
        raise ModelError(
            f"{family(pipeline)} needs more memory than this GPU has free; expected room for a "
            "picture. Ask for a smaller size, or use --device cpu."
        ) from error
    except _LIBRARY_ERRORS as error:
        raise ConfigError(
            f"{family(pipeline)} can't be asked for a picture with {steps} steps, guidance "
            f"{guidance:g} and size {size or 'its own'}: {str(error)[:300]}."
        ) from error
    image = torch.as_tensor(made.images[0]).permute(2, 0, 1).float()
    if not bool(torch.isfinite(image).all()):
        raise ModelError(
            f"{family(pipeline)} gave undefined numbers instead of a picture; its autoencoder "
            "can't compute in this number format. Use float32."
        )
    if size and image.shape[1:] != (size, size):
        raise ConfigError(
            f"{family(pipeline)} made a picture of {image.shape[2]}x{image.shape[1]} pixels "
            f"instead of {size}x{size}; expected a size that it can make (often a multiple of 16)."
        )
    return image.clamp(0, 1)


def _settings(kind: type) -> frozenset[str]:
    """The settings that pipelines of a class can be asked with."""
    return frozenset(inspect.signature(kind.__call__).parameters)


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / "model_index.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path / 'model_index.json'} can't be read: {error}.") from error
    if not isinstance(index, dict):
        raise ModelError(f"{path / 'model_index.json'} is no table of parts; get it again.")
    return index


def _class_names(path: Path) -> tuple[str, str]:
    """Names of the pipeline and scheduler classes behind a path; loads no weights."""
    if not path.is_dir():
        return single_file_class(path)
    index = _index(path)
    scheduler = index.get("scheduler")
    named = scheduler if isinstance(scheduler, list) and len(scheduler) == 2 else ["", "its own"]
    return str(index.get("_class_name")), str(named[1])


def _assemble(path: Path) -> Pipeline:
    """The pipeline that a folder describes, each part loaded strictly."""
    index = _index(path)
    kind = _pipeline_class(path, str(index.get("_class_name")))
    wanted = inspect.signature(kind.__init__).parameters
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if name not in wanted:
            if isinstance(entry, list) and entry != [None, None]:
                raise ModelError(f"{path} has a part {name} that {kind.__name__} lacks.")
        elif not isinstance(entry, list):
            parts[name] = entry
        elif name in _LEFT_OUT or entry == [None, None]:
            parts[name] = None
        else:
            parts[name] = _load_part(path / name, entry, kind)
    parts |= {name: value for name, value in _OPTIONS.items() if name in wanted}
    return kind(**parts)


def _pipeline_class(path: Path, name: str) -> Any:
    try:
        import diffusers
        from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as LISTED
    except ImportError as error:
        raise MissingExtraError(error.name or "diffusers") from error
    known = {kind.__name__: kind for kind in LISTED.values() if "Control" not in kind.__name__}
    known |= {extra: getattr(diffusers, extra) for extra in _UNLISTED if hasattr(diffusers, extra)}
    if name in known:
        return known[name]
    advice = "Use another folder, or newer diffusers."
    if name in _HALVES:
        advice = (
            "It is one half of a pair; load both with diffusers' AutoPipelineForText2Image and "
            "save that pipeline to one folder."
        )
    raise ModelError(
        f"{path} is a {str(name)[:100]}; expected a text-to-image pipeline that this "
        f"diffusers knows, such as Stable Diffusion 1.x, 2.x, XL or 3, LCM, Kandinsky or Flux. "
        f"{advice}"
    )


def _load_part(folder: Path, entry: list[Any], pipeline: Any) -> Any:
    import diffusers
    import transformers
    from diffusers.models.modeling_utils import ModelMixin

    library, name = (str(word) for word in entry) if len(entry) == 2 else ("", "")
    named = {"diffusers": diffusers, "transformers": transformers}.get(library)
    # parts that belong to one family alone live in the module of its pipeline, or beside it
    beside = (named, getattr(diffusers.pipelines, library, None), sys.modules[pipeline.__module__])
    kind: Any = next((getattr(place, name) for place in beside if hasattr(place, name)), None)
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
            "diffusers or transformers. Nothing else is loaded, since it could run code."
        )
    if not network:
        # without an answer here, transformers would ask on the terminal
        told = {} if issubclass(kind, diffusers.SchedulerMixin) else {"trust_remote_code": False}
        return kind.from_pretrained(folder, local_files_only=True, **told)
    return load_network(kind, folder)
