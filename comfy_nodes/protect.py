"""Nodes for before the release: load a coater, coat pictures and folders, train a coater."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from . import convert, host, paths
from .types import CATEGORY, CoaterSocket, KeySocket

ENLARGED = 10
KEY_TIP = "From Load Key, for a keyed coater and no other."
STRENGTH_TIP = "Factor on the coating; 1 is what the coater was trained for."


@lru_cache(maxsize=4)
def _coater(path: Path, _stamp: tuple[int, int], device: torch.device) -> Any:
    from siren_ext.coater.coater import Coater

    with torch.inference_mode(False):  # so that training may start from it
        return Coater.load(path, device=device)


class LoadCoater(io.ComfyNode):
    """A coater file -> SIREN_COATER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenLoadCoater",
            display_name="Load Coater",
            category=CATEGORY,
            description="Loads the secret file that adds the coating and recognises it.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=paths.coater_names(),
                    default=f"samples{paths.BUNDLED}",
                    tooltip="A bundled coater for trying things, or a file in models/siren.",
                )
            ],
            outputs=[
                CoaterSocket.Output(
                    "coater", display_name="coater", tooltip="For Coat Image and Score Coating."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return paths.input_check(paths.coater_file, name)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> Any:
        return paths.stamp(paths.coater_file(name))

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        path = paths.coater_file(name)
        return io.NodeOutput(_coater(path, paths.stamp(path), host.device()))


class CoatImage(io.ComfyNode):
    """Pictures -> coated pictures, ready for Save Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenCoatImage",
            display_name="Coat Image",
            category=CATEGORY,
            description="Adds the invisible coating. Wire it right before Save Image: any later "
            "change of the pictures weakens it.",
            inputs=[
                CoaterSocket.Input("coater", tooltip="From Load Coater or Train Coater."),
                io.Image.Input(
                    "image", tooltip="One or many pictures. Transparency passes through untouched."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip=STRENGTH_TIP,
                ),
                io.Mask.Input(
                    "keep",
                    optional=True,
                    tooltip="Nothing is added where the mask is white: the transparent part of a "
                    "picture from Load Image, or what you painted in the mask editor.",
                ),
                KeySocket.Input("key", optional=True, tooltip=KEY_TIP),
            ],
            outputs=[
                io.Image.Output(
                    "coated",
                    display_name="coated",
                    tooltip="Rounded to 8 bits: Save Image loses nothing.",
                ),
                io.Image.Output(
                    "difference",
                    display_name="difference",
                    tooltip=f"What was added, {ENLARGED} times enlarged, on grey.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        coater: Any,
        image: Tensor,
        strength: float,
        keep: Tensor | None = None,
        key: Any = None,
    ) -> io.NodeOutput:
        from siren_ext.coating.apply import coat_images

        images, mask = convert.to_core(image), convert.to_keep(keep, image)
        masks = [None] * len(images) if mask is None else mask.expand(len(images), -1, -1, -1)
        coated = image.to("cpu", torch.float32, copy=True)
        with host.long_step() as progress:
            progress.stage("Coating", len(images))
            for index, (one, part) in enumerate(zip(images.split(1), masks, strict=True)):
                part = None if part is None else part[None]
                done = coat_images(one, coater, strength=strength, keep=part, key=key)
                # a fourth channel stays as it is
                coated[index, ..., :3] = done[0].movedim(0, -1)
                progress.advance()
        # in place, as every copy of a large picture takes its time
        difference = coated[..., :3] - image[..., :3].cpu()
        difference.mul_(ENLARGED).add_(0.5).clamp_(0, 1)
        return io.NodeOutput(coated, difference)


class CoatFolder(io.ComfyNode):
    """A folder of pictures -> a folder of coated pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenCoatFolder",
            display_name="Coat Folder",
            category=CATEGORY,
            description="Coats every picture of a folder; names, captions, transparency and EXIF "
            "are kept. A stopped run goes on when queued again.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                CoaterSocket.Input("coater", tooltip="From Load Coater or Train Coater."),
                io.String.Input(
                    "folder",
                    default="pictures",
                    tooltip="Name of a folder inside ComfyUI's input (or output) folder.",
                ),
                io.String.Input(
                    "save_as",
                    default="siren/coated",
                    tooltip="Name of the folder to write, inside ComfyUI's output folder.",
                ),
                io.Combo.Input(
                    "layout",
                    options=["plain", "kohya"],
                    default="plain",
                    tooltip="plain keeps subfolders; kohya writes a training folder with "
                    "dataset.toml.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip=STRENGTH_TIP,
                ),
                io.Float.Input(
                    "share",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Part of the pictures that is coated; the others are copied.",
                ),
                KeySocket.Input("key", optional=True, tooltip=KEY_TIP),
            ],
            outputs=[
                io.String.Output(
                    "saved_in",
                    display_name="saved_in",
                    tooltip="The folder, below the output folder.",
                ),
                io.String.Output(
                    "summary",
                    display_name="summary",
                    tooltip="What was written and what was skipped.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: str | None = None, save_as: str | None = None) -> bool | str:
        return paths.all_of(
            paths.input_check(paths.image_folder, folder),
            paths.input_check(paths.new_output, save_as),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # files may have come or gone: always look

    @classmethod
    def execute(
        cls,
        coater: Any,
        folder: str,
        save_as: str,
        layout: str,
        strength: float,
        share: float,
        key: Any = None,
    ) -> io.NodeOutput:
        from siren_ext.coating.folder import coat_folder
        from siren_ext.coating.manifest import CoatConfig
        from siren_ext.data.dataset import ImageSet

        out = paths.new_output(save_as)
        config = CoatConfig(strength=strength, share=share, layout=layout)
        with host.long_step() as progress:
            data = ImageSet.open(paths.image_folder(folder))
            manifest = coat_folder(data, coater, out, config, key=key, progress=progress)
        count = sum(entry.coated for entry in manifest.entries)
        name = out.relative_to(paths.output_folder()).as_posix()
        lines = [f"{count} of {len(manifest.entries)} pictures coated in {name}"]
        lines += [f"skipped {bad.source}: {bad.error}" for bad in manifest.failures]
        text = "\n".join(lines)
        return io.NodeOutput(name, text, ui={"text": (text,)})


class TrainCoater(io.ComfyNode):
    """A folder of pictures and a model -> a coater made for them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SirenTrainCoater",
            display_name="Train Coater",
            category=CATEGORY,
            description="Trains a coater for your pictures against the model of this graph (or the "
            "small bundled one) and keeps it in models/siren. A stopped run goes on when queued "
            "again.",
            is_output_node=True,
            inputs=[
                io.String.Input(
                    "folder",
                    default="pictures",
                    tooltip="Name of a folder of clean pictures inside ComfyUI's input folder.",
                ),
                io.String.Input(
                    "class_word",
                    default="dog",
                    tooltip="The noun for what the pictures show: dog, person, landscape.",
                ),
                io.String.Input(
                    "save_as",
                    default="my coater",
                    tooltip="Name of the file in models/siren. An existing one is never "
                    "overwritten.",
                ),
                io.Int.Input(
                    "steps", default=300, min=1, max=1_000_000, tooltip="Optimisation steps."
                ),
                io.Int.Input(
                    "batch_size", default=16, min=1, max=1024, tooltip="Pictures in each step."
                ),
                io.Int.Input(
                    "resolution",
                    default=512,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip="Side in pixels at which the model is trained: 512 for SD 1.x, 768 "
                    "for SD 2.x. Without a model the bundled one's own is taken.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**31,
                    tooltip="Everything random follows from it.",
                ),
                io.Boolean.Input(
                    "rehearse",
                    default=True,
                    tooltip="With the bundled model: let copies of it learn from the coated "
                    "pictures meanwhile. Slower, and needed for a coater that holds.",
                ),
                CoaterSocket.Input(
                    "start", optional=True, tooltip="A coater to adapt instead of a fresh one."
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The checkpoint that an infringer is likely to use, best with a LoRA "
                    "of your clean pictures. Wire model, clip and vae, or none of them.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Of the same checkpoint."),
                io.Vae.Input("vae", optional=True, tooltip="Of the same checkpoint."),
                io.Combo.Input(
                    "preset",
                    options=["default", "coarse", "keyed"],
                    default="default",
                    optional=True,
                    tooltip="default: fine detail, trained. coarse: a faint tint, for sets of very "
                    "different pictures. keyed: carries a message, for Load Key and Keyed Verify. "
                    "The latter two are fitted, which is quick: steps, batch_size and rehearse "
                    "count for nothing, and start has to stay unwired.",
                ),
            ],
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
            paths.input_check(paths.new_coater_file, save_as),
        )

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
        preset: str = "default",
    ) -> io.NodeOutput:
        from .training import train_for_graph

        path = paths.new_coater_file(save_as)
        data = paths.image_folder(folder)
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
                progress=progress,
            )
        return io.NodeOutput(coater, path.name, ui={"text": (f"models/siren/{path.name}",)})
