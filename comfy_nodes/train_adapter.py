"""The node that trains an adapter on images, as somebody else or an honest artist might."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import files, host, paths, shown
from .passive import base_file, base_names
from .types import CATEGORY, schema

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.personalize.config import PersonalizeConfig

SAME = "It was trained before from the same images and settings, so it was not trained again."


class TrainAdapter(io.ComfyNode):
    """Trains a LoRA or another adapter on a folder of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenTrainAdapter",
            search_aliases=["train lora", "personalize", "textual inversion", "reference model"],
            display_name="Train Adapter",
            category=CATEGORY,
            description="Trains a LoRA or another adapter on your images and saves it in "
            "models/loras: a clean reference for KS Verify, or a model to test a coating on. Queue "
            "an interrupted run again to resume it.",
            is_output_node=True,
            inputs=_inputs(),
            outputs=[
                io.String.Output("file", display_name="file", tooltip="Its name in models/loras."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, save_as: str | None = None) -> bool | str:
        return paths.all_of(
            paths.input_check(paths.image_folder, folder),
            paths.input_check(files.new_adapter_file, save_as),
        )

    @classmethod
    def execute(
        cls,
        folder: str,
        base: str,
        method: str,
        save_as: str,
        steps: int,
        batch_size: int,
        seed: int,
        learning_rate: float,
        prompt: str = "",
        token: str = "<new1>",
    ) -> io.NodeOutput:
        from siren_ext.data.dataset import ImageSet
        from siren_ext.personalize.config import PersonalizeConfig
        from siren_ext.personalize.run import personalize

        config = PersonalizeConfig.from_dict(
            {
                "method": method, "steps": steps, "batch_size": batch_size, "seed": seed,
                "learning_rate": learning_rate, "prompt": prompt.strip() or None, "token": token,
            }
        )  # fmt: skip
        path, model = files.new_adapter_file(save_as), base_file(base)
        name = files.adapter_name(path)
        with host.long_step() as progress, host.learning():
            data = ImageSet.open(paths.image_folder(folder)).checked(progress=progress)
            if path.exists():
                _refuse_other(path, data, model, config)
                note = shown.shown("Adapter found", [SAME], tone="good")
                return io.NodeOutput(name, ui=note)
            path.parent.mkdir(parents=True, exist_ok=True)
            personalize(data, model, config, path, device=str(host.device()), progress=progress)
        note = shown.shown("Adapter saved", [f"models/loras/{name}"], tone="good")
        return io.NodeOutput(name, ui=note)


def _refuse_other(path: Path, data: ImageSet, model: str, config: PersonalizeConfig) -> None:
    """Refuse to overwrite a file that was not made from the same images and settings."""
    from siren_ext.errors import AdapterError
    from siren_ext.personalize.record import run_signature
    from siren_ext.personalize.run import training_dtype
    from siren_ext.personalize.save import finished

    run = run_signature(data, model, config, training_dtype(host.device(), config.precision))
    if finished(path, run, config) is None:
        raise AdapterError(
            f"{path.name} exists already in models/loras, made from something else. It is not "
            "overwritten; expected a new name in save_as."
        )


def _inputs() -> list[Any]:
    """What to train on, and how."""
    return [
        io.String.Input(
            "folder",
            default="pictures",
            tooltip="Name of a folder with images inside ComfyUI's input folder.",
        ),
        io.Combo.Input(
            "base",
            options=base_names(),
            tooltip="The model to train: the small bundled one, or a Stable Diffusion 1.x or 2.x "
            "checkpoint in models/checkpoints.",
        ),
        io.Combo.Input(
            "method",
            options=["lora", "svdiff", "textual-inversion"],
            default="lora",
            tooltip="lora: what is published most. svdiff: a small file with little overfitting, "
            "which only this pack and SVDiff programs read. textual-inversion: a new word, the "
            "weakest change.",
        ),
        io.String.Input(
            "save_as",
            default="my adapter",
            tooltip="Name of the new file in models/loras. An existing file is never overwritten.",
        ),
        io.Int.Input("steps", default=400, min=1, max=1_000_000, tooltip="Training steps."),
        io.Int.Input("batch_size", default=4, min=1, max=1024, tooltip="Images per step."),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31 - 1,
            tooltip="Seed of everything random in training.",
        ),
        io.Float.Input(
            "learning_rate",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.0001,
            round=0.0000001,
            tooltip="Learning rate; 0 for the usual one of the method.",
        ),
        io.String.Input(
            "prompt",
            default="",
            optional=True,
            tooltip="One caption for all images; empty for the captions beside the images.",
        ),
        io.String.Input(
            "token",
            default="<new1>",
            optional=True,
            tooltip="The new word of textual-inversion, which the prompt or the captions must "
            "contain.",
        ),
    ]
