"""The node that trains a coater."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from . import files, host, paths, record, shown
from .types import CATEGORY, CoaterSocket, schema

BACK_UP = "It is your secret and your only proof: back it up, and don't share it."
SAME = (
    "It had already been trained on the same images with the same settings, so it was not "
    "trained again."
)


class TrainCoater(io.ComfyNode):
    """Trains a coater for a folder of images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenTrainCoater",
            search_aliases=["train watermark", "protect images", "glaze"],
            display_name="Train Coater",
            category=CATEGORY,
            description="Trains a coater for your images against the model of this workflow (or "
            "the small bundled one) and saves it in models/siren. Queue an interrupted run again "
            "to resume it.",
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[*_image_inputs(), *_training_inputs(), *_model_inputs()],
            outputs=[
                CoaterSocket.Output("coater", display_name="coater", tooltip="The trained coater."),
                io.String.Output("file", display_name="file", tooltip="Its name in models/siren."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, folder: str | None = None, class_word: str | None = None, save_as: str | None = None
    ) -> bool | str:
        from siren_ext.training.prompts import class_noun

        return paths.all_of(
            paths.input_check(paths.image_folder, folder),
            paths.input_check(class_noun, class_word),
            paths.input_check(files.new_coater_file, save_as),
        )

    @classmethod
    def fingerprint_inputs(cls, folder: str | None, save_as: str | None, **_: Any) -> str | float:
        # without its file, a coater that ComfyUI still has in memory proves nothing later
        return paths.fingerprint((paths.image_folder, folder), (files.new_coater_file, save_as))

    @classmethod
    def execute(
        cls,
        folder: str,
        class_word: str,
        save_as: str,
        steps: int,
        batch_size: int,
        resolution: int,
        seed: int,
        rehearse: bool,
        start: Any = None,
        model: Any = None,
        clip: Any = None,
        vae: Any = None,
        preset: str = "default",  # that of workflows from before the input existed
    ) -> io.NodeOutput:
        from .graph_surrogate import train_for_graph

        path = files.new_coater_file(save_as)
        name = files.coater_name(path)
        data = paths.image_folder(folder)
        settings = (class_word, steps, batch_size, resolution, seed, rehearse, preset)
        asked = _asked(data, settings, start, _model_of(cls.hidden))
        before = _trained_before(path, asked)
        if before is not None:
            note = shown.shown("Coater loaded", [SAME, f"models/siren/{name}"], tone="good")
            return io.NodeOutput(before, name, ui=note)
        with host.long_step() as progress, host.learning():
            coater = train_for_graph(
                data,
                class_word,
                path,
                (model, clip, vae),
                resolution=resolution,
                steps=steps,
                batch_size=batch_size,
                seed=seed,
                rehearse=rehearse,
                start=start,
                preset=preset,
                asked=asked,
                progress=progress,
            )
        note = shown.shown("Coater saved", [f"models/siren/{name}", BACK_UP], tone="good")
        return io.NodeOutput(coater, name, ui=note)


def _model_of(hidden: Any) -> str:
    """The part of the workflow that makes the model, as text; "" for the bundled one."""
    if hidden is None:
        return ""
    made = [
        record.made_by(hidden.prompt, hidden.unique_id, socket)
        for socket in ("model", "clip", "vae")
    ]
    return json.dumps([[one.get("models"), one.get("workflow")] for one in made], sort_keys=True)


def _asked(folder: Path, settings: tuple[Any, ...], start: Any, model: str) -> str:
    """A mark of everything that a coater is trained from."""
    from siren_ext.files import sha256_file

    images = [(name, sha256_file(path)) for name, path in paths.folder_files(folder).items()]
    begun = None if start is None else start.fingerprint
    text = json.dumps([images, settings, begun, model])
    return hashlib.sha256(text.encode()).hexdigest()


def _trained_before(path: Path, asked: str) -> Any:
    """The coater in a file if it was trained from the same, else None."""
    from siren_ext.coater.coater import Coater

    from .graph_surrogate import ASKED

    if not path.is_file():
        return None
    with torch.inference_mode(False):  # so that training may start from it
        coater = Coater.load(path, device=host.device())
    return coater if coater.provenance.get(ASKED) == asked else None


def _image_inputs() -> list[Any]:
    """Which images the coater is for, and its name."""
    return [
        io.String.Input(
            "folder",
            default="pictures",
            tooltip="Name of a folder with clean images inside ComfyUI's input folder.",
        ),
        io.String.Input(
            "class_word",
            default="dog",
            tooltip="One word for what the images show: dog, person, landscape.",
        ),
        io.String.Input(
            "save_as",
            default="my coater",
            tooltip="Name of the new file in models/siren. An existing file is never overwritten.",
        ),
    ]


def _training_inputs() -> list[Any]:
    """How to train."""
    return [
        io.Int.Input("steps", default=300, min=1, max=1_000_000, tooltip="Training steps."),
        io.Int.Input("batch_size", default=16, min=1, max=1024, tooltip="Images per step."),
        io.Int.Input(
            "resolution",
            default=512,
            min=64,
            max=2048,
            step=8,
            tooltip="Image size in pixels that the model was trained with: 512 for SD 1.x, 768 "
            "for SD 2.x. Ignored if no model is connected.",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**31,
            tooltip="Seed of everything random in training.",
        ),
        io.Boolean.Input(
            "rehearse",
            default=True,
            tooltip="With the bundled model: let copies of it learn from the coated images during "
            "training. Slower, but needed for a coating that models really learn.",
        ),
        CoaterSocket.Input(
            "start",
            optional=True,
            tooltip="A coater to start from, such as the bundled one called start. Quicker than "
            "training from scratch.",
        ),
    ]


def _model_inputs() -> list[Any]:
    """What to train against, and the type of coating."""
    return [
        io.Model.Input(
            "model",
            optional=True,
            tooltip="The checkpoint that other people would probably train on, ideally with a "
            "LoRA of your clean images. Connect model, clip and vae, or none of them.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="From the same checkpoint."),
        io.Vae.Input("vae", optional=True, tooltip="From the same checkpoint."),
        io.Combo.Input(
            "preset",
            options=["keyed", "default", "coarse"],
            default="keyed",
            optional=True,
            tooltip="keyed: carries the secret message of a key, for New Key and Keyed Verify. "
            "default: a fine pattern without a key. coarse: a faint tint without a key, "
            "for sets of very different images. keyed and coarse are quick: they ignore "
            "steps, batch_size and rehearse, and they can't be used with start connected.",
        ),
    ]
