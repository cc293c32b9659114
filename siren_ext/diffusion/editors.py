"""Image editors of diffusers: pipelines that take an image and a text, from local folders."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from siren_ext.data.images import to_uint8
from siren_ext.devices import pick_dtype
from siren_ext.diffusion.families import LIBRARY_ERRORS, assemble, call_pipeline, place
from siren_ext.diffusion.load import Pipeline, model_path, quiet_libraries
from siren_ext.diffusion.single_file import read_settings
from siren_ext.errors import MissingExtraError, ModelError

_TAKEN = {"image", "prompt", "num_inference_steps", "generator"}


def load_editor(model: str | Path, device: torch.device) -> Pipeline:
    """Load an editor, frozen and in eval mode.

    Nothing is downloaded, and neither pickles nor code in the folder are loaded.

    Parameters
    ----------
    model : str or Path
        A diffusers folder.
    device : torch.device
        Where to put it, in the fastest number format of the device.

    Raises
    ------
    ModelError
        If the model is missing, unreadable or no editor.
    MissingExtraError
        If diffusers or transformers is not installed.
    """
    path = model_path(model)
    if not path.is_dir():
        raise ModelError(f"{path} is a file; expected the diffusers folder of an image editor.")
    kind = _class(path, str(read_settings(path / "model_index.json").get("_class_name")))
    with quiet_libraries():
        try:
            pipeline = assemble(path, kind)
        except LIBRARY_ERRORS as error:
            reason = str(error)[:500]
            raise ModelError(f"{path} can't be loaded as an image editor: {reason}.") from error
        place(pipeline, device, pick_dtype(device))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _class(path: Path, name: str) -> Any:
    """The class of that name, if it takes an image and a text."""
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtraError("diffusers") from error
    kind = getattr(diffusers, name, None) if name.isidentifier() else None
    if not (inspect.isclass(kind) and issubclass(kind, diffusers.DiffusionPipeline)):
        kind = None
    if kind is None or not set(inspect.signature(kind.__call__).parameters) >= _TAKEN:
        raise ModelError(
            f"{path} is a {name[:100]}; expected a pipeline that takes an image and a text, such "
            "as FluxKontextPipeline or QwenImageEditPipeline."
        )
    return kind


def edited(
    pipeline: Pipeline, image: Tensor, prompt: str, *, steps: int, guidance: float, seed: int
) -> Tensor:
    """An image that an editor has drawn again.

    Parameters
    ----------
    pipeline : Pipeline
        Of :func:`load_editor`.
    image : Tensor
        3 x H x W in [0,1].
    prompt : str
        What it is told.
    steps, guidance, seed : int, float, int
        Denoising steps, guidance scale and seed.

    Returns
    -------
    Tensor
        3 x H' x W' in [0,1]; H and W if the editor takes a size.

    Raises
    ------
    ConfigError
        If the pipeline refuses the settings.
    ModelError
        If the picture is not finite, or the GPU runs out of memory.
    """
    height, width = image.shape[1:]
    asked = {
        "image": Image.fromarray(to_uint8(image)), "prompt": prompt, "output_type": "np",
        "height": height, "width": width, "_auto_resize": False, "num_inference_steps": steps,
        "guidance_scale": guidance, "generator": torch.Generator("cpu").manual_seed(seed),
    }  # fmt: skip
    how = f"{steps} steps, guidance {guidance:g} and {width}x{height} pixels"
    return call_pipeline(pipeline, asked, how).clamp(0, 1)
