"""The workflow's model as a checkpoint file, for tests that need a whole model with gradients."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from siren_ext.errors import ModelError
from siren_ext.suspects.local import LocalSuspect

from .files import NO_ADAPTER

Parts = tuple[Any, Any, Any]
"""MODEL, CLIP and VAE of the workflow; None where nothing is connected."""

_FAMILIES = {"SD15": "Stable Diffusion 1.x"}  # by the name of ComfyUI's own class
_FORMATS = {torch.float32, torch.float16, torch.bfloat16}


class WorkflowSuspect(LocalSuspect):
    """A suspect whose file was written from the workflow's model."""

    def describe(self) -> dict[str, Any]:
        """The record of a local suspect, which says that the model came from a workflow.

        The fingerprint is the SHA-256 of the written file: that of the weights as the workflow uses
        them, with all LoRAs, not that of a file that was downloaded.

        Raises
        ------
        ModelError
            If the file can't be read.
        """
        return super().describe() | {"kind": "workflow", "model": "model of a ComfyUI workflow"}


def connected(parts: Parts, control: Any, otherwise: str, *loras: str) -> bool:
    """Whether the workflow's model is connected.

    Parameters
    ----------
    parts : Parts
        MODEL, CLIP and VAE.
    control : Any
        The MODEL to compare with; None where nothing is connected.
    otherwise : str
        What is used if none is connected, for the message.
    loras : str
        Names of LoRAs that are chosen beside it, which are not for the workflow's model.

    Raises
    ------
    ModelError
        Only some of the three parts are connected, a LoRA is chosen beside them, or a control is
        connected without them.
    """
    found = [part is not None for part in parts]
    if any(found) and not all(found):
        raise ModelError(
            "Only some of model, clip and vae are connected; expected all three from one "
            f"checkpoint, or none of them to use {otherwise}."
        )
    if control is not None and not all(found):
        raise ModelError(
            "control_model is connected, but model, clip and vae are not. Connect the suspicious "
            "model too, or disconnect control_model."
        )
    chosen = [name for name in loras if name != NO_ADAPTER]
    if all(found) and chosen:
        raise ModelError(
            f"The LoRA {chosen[0]!r} is chosen, but a model of the workflow is connected, which "
            f"already has its own LoRAs. Choose {NO_ADAPTER!r}, or disconnect model, clip and vae."
        )
    return all(found)


def with_control(parts: Parts, control: Any) -> list[Parts]:
    """The suspicious model and, if there is one, its control with the same CLIP and VAE."""
    return [parts] if control is None else [parts, (control, *parts[1:])]


@contextlib.contextmanager
def written(*models: Parts, device: str) -> Iterator[list[WorkflowSuspect]]:
    """Write models of the workflow to ComfyUI's temp folder, as long as the block runs.

    Call it before gradients are enabled, because ComfyUI applies LoRAs in inference mode.

    Parameters
    ----------
    models : Parts
        MODEL, CLIP and VAE of each. LoRAs are included; patches that don't change weights, such as
        FreeU, are not.
    device : str
        Where the suspects will run.

    Yields
    ------
    list[WorkflowSuspect]
        One per model, in float32.

    Raises
    ------
    ModelError
        A model is of another family or number format, or can't be written.
    """
    import folder_paths

    for parts in models:
        _refuse_unknown(parts[0])
    root = Path(folder_paths.get_temp_directory())
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix="siren-") as folder:
        found = []
        for number, parts in enumerate(models):
            path = Path(folder) / f"{number}.safetensors"
            _write(parts, path)
            found.append(WorkflowSuspect(path, device=device, dtype=torch.float32))
        yield found


def _refuse_unknown(model: Any) -> None:
    """Refuse a MODEL that a checkpoint of Stable Diffusion 1.x can't hold."""
    import comfy.model_sampling as kinds

    advice = "Disconnect model, clip and vae, and choose the files by their names instead."
    name = type(model.model.model_config).__name__
    if name not in _FAMILIES:
        raise ModelError(
            f"The workflow's model is of the family {name}; expected {' or '.join(_FAMILIES)} "
            f"({' or '.join(_FAMILIES.values())}). {advice}"
        )
    used = {weight.dtype for weight in model.model.diffusion_model.parameters()}
    if not used <= _FORMATS:
        formats = ", ".join(sorted(str(one).removeprefix("torch.") for one in used - _FORMATS))
        raise ModelError(
            f"The workflow's model has weights in {formats}, which are not precise enough for "
            "this test; expected float32, float16 or bfloat16. Load the checkpoint in 16 bits."
        )
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, kinds.EPS) or isinstance(sampling, (kinds.EDM, kinds.X0)):
        raise ModelError(
            "The workflow's model predicts neither noise nor v, but one of these is needed. "
            "Remove the node that changes its sampling."
        )


def _write(parts: Parts, path: Path) -> None:
    """A checkpoint file as ComfyUI's Save Checkpoint writes it, and the tokenizer beside it."""
    import comfy.model_sampling as kinds
    import comfy.sd
    import comfy.sd1_clip

    sampling = parts[0].get_model_object("model_sampling")
    velocity = isinstance(sampling, kinds.V_PREDICTION)
    from_noise = {"ztsnr": torch.tensor([])} if getattr(sampling, "zsnr", False) else {}
    try:
        comfy.sd.save_checkpoint(
            str(path),
            *parts,
            metadata={"modelspec.prediction_type": "v" if velocity else "epsilon"},
            extra_keys=from_noise,
        )
        # ComfyUI's copy of CLIP's vocabulary, which a checkpoint lacks
        source = Path(comfy.sd1_clip.__file__).with_name("sd1_tokenizer")
        target = path.with_suffix("") / "tokenizer"
        target.mkdir(parents=True)
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(source / name, target / name)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The workflow's model can't be written to ComfyUI's temp folder: {error}. Free as "
            "much disk space as the checkpoint takes."
        ) from error
