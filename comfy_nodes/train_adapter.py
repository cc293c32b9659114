"""The node that trains an adapter on images, as somebody else or an honest artist might."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from . import files, host, paths, shown
from .passive import base_file, base_names, base_places
from .types import CATEGORY, schema

if TYPE_CHECKING:
    from siren_ext.data.dataset import ImageSet
    from siren_ext.progress import Progress

SAME = (
    "It had already been trained on the same images with the same settings, so it was not "
    "trained again."
)


class TrainAdapter(io.ComfyNode):
    """Trains a LoRA, another adapter or a whole model on a folder of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenTrainAdapter",
            search_aliases=[
                "train lora",
                "personalize",
                "dreambooth",
                "textual inversion",
                "reference model",
            ],
            display_name="Train Adapter",
            category=CATEGORY,
            description="Trains a LoRA, another adapter or a whole model on your images and saves "
            "it in models/loras or models/checkpoints: a clean reference for KS Verify, or a model "
            "to test a coating on. Queue an interrupted run again to resume it.",
            is_output_node=True,
            inputs=_inputs(),
            outputs=[
                io.String.Output("file", display_name="file", tooltip="Its name in that folder."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, folder: str | None = None, save_as: str | None = None, class_folder: str | None = None
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(paths.image_folder, folder),
            paths.input_check(paths.image_folder, class_folder or None),
            paths.input_check(files.new_adapter_file, save_as),
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        folder: str | None,
        base: str | None,
        save_as: str | None,
        class_folder: str | None = "",
        **_: Any,
    ) -> str | float:
        # a file that was deleted is made again
        return paths.fingerprint(
            (paths.image_folder, folder),
            (base_places, base),
            (_places, save_as),
            (paths.folder_if_any, class_folder),
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
        class_prompt: str = "",
        class_folder: str = "",
    ) -> io.NodeOutput:
        from siren_ext.personalize.config import WHOLE_MODELS, PersonalizeConfig
        from siren_ext.personalize.run import personalize

        config = PersonalizeConfig.from_dict(
            {
                "method": method, "steps": steps, "batch_size": batch_size, "seed": seed,
                "learning_rate": learning_rate, "prompt": prompt.strip() or None, "token": token,
                "class_prompt": class_prompt.strip() or None,
            }
        )  # fmt: skip
        whole = method in WHOLE_MODELS
        kind, what = ("checkpoints", "Model") if whole else ("loras", "Adapter")
        path, model = files.new_adapter_file(save_as, kind), base_file(base)
        name = files.adapter_name(path, kind)
        with host.long_step() as progress, host.learning():
            data = _opened(folder, progress)
            others = _opened(class_folder, progress) if class_folder.strip() else None
            before = paths.stamp(path) if path.exists() else None  # another run's is refused
            path.parent.mkdir(parents=True, exist_ok=True)
            device = str(host.device())
            personalize(
                data, model, config, path, class_images=others, device=device, progress=progress
            )
        if before is not None and paths.stamp(path) == before:
            note = shown.shown(f"{what} found", [SAME], tone="good")
        else:
            note = shown.shown(f"{what} saved", [f"models/{kind}/{name}"], tone="good")
        return io.NodeOutput(name, ui=note)


def _places(name: str) -> list[Path]:
    """Where a file of that name is written, by methods of either kind."""
    return [files.new_adapter_file(name, kind) for kind in ("loras", "checkpoints")]


def _opened(folder: str, progress: Progress) -> ImageSet:
    """The images of a folder that can be read."""
    from siren_ext.data.dataset import ImageSet

    return ImageSet.open(paths.image_folder(folder)).checked(progress=progress)


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
            options=["lora", "svdiff", "textual-inversion", "dreambooth", "full"],
            default="lora",
            tooltip="lora: the kind that is published most. svdiff: a small file with little "
            "overfitting, which only this pack and SVDiff programs can read. "
            "textual-inversion: a new word, the weakest change. dreambooth and full: "
            "train all weights of a Stable Diffusion 1.x checkpoint, with (dreambooth) or "
            "without (full) other images of the same kind; this needs a lot of memory and "
            "writes a file of several GB.",
        ),
        io.String.Input(
            "save_as",
            default="my adapter",
            tooltip="Name of the new file in models/loras, or in models/checkpoints for "
            "dreambooth and full. An existing file is never overwritten.",
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
            tooltip="Learning rate; 0 for the method's usual one.",
        ),
        io.String.Input(
            "prompt",
            default="",
            optional=True,
            tooltip="One caption for all images. Leave it empty to use the captions beside the "
            "images.",
        ),
        io.String.Input(
            "token",
            default="<new1>",
            optional=True,
            tooltip="For textual-inversion: the new word. The prompt or the captions must contain "
            "it.",
        ),
        io.String.Input(
            "class_prompt",
            default="",
            optional=True,
            tooltip="For dreambooth: what other images of the same kind show, such as a photo of "
            "a dog. Without a class_folder, these images are generated with this prompt.",
        ),
        io.String.Input(
            "class_folder",
            default="",
            optional=True,
            tooltip="For dreambooth: name of a folder with images of the same kind of subject, "
            "inside ComfyUI's input folder. Leave it empty to generate them.",
        ),
    ]
