"""The node that ranks the owner's images by how much each of them shaped a picture."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from . import convert, example_loras, files, host, passive, paths, shown
from .types import CATEGORY, schema

_SIDE = 512  # longest side in the gallery, in pixels
_LISTED = 5  # images that are named on the node
_LIMITS = 2  # limits on the node: no proof of a copy, and none of training


def gallery(images: Sequence[Path]) -> Tensor:
    """Images of different sizes as one batch: shrunk if they are large, and on white.

    Parameters
    ----------
    images : sequence of Path
        One or more files.

    Returns
    -------
    Tensor
        B x H x W x 3; H and W are at most 512, and those of the largest.

    Raises
    ------
    ImageError
        A file can't be read.
    """
    from siren_ext.data.images import read_picture, resize, to_tensor

    small = []
    for path in images:
        image = to_tensor(read_picture(path).rgb)
        scale = min(1.0, _SIDE / max(image.shape[2:]))
        height, width = (max(1, round(side * scale)) for side in image.shape[2:])
        small.append(resize(image, height, width))
    tall, wide = (max(image.shape[axis] for image in small) for axis in (2, 3))
    batch = torch.ones(len(small), 3, tall, wide)
    for page, image in zip(batch, small, strict=True):
        height, width = image.shape[2:]
        top, left = (tall - height) // 2, (wide - width) // 2
        page[:, top : top + height, left : left + width] = image[0]
    return convert.to_comfy(batch)


def write_pictures(pictures: Tensor, prompt: str, folder: Path) -> None:
    """Write the pictures in question as PNG files, with their prompt beside them.

    Parameters
    ----------
    pictures : Tensor
        ComfyUI's IMAGE.
    prompt : str
        Their prompt; empty if it is not known.
    folder : Path
        An existing folder.

    Raises
    ------
    ImageError
        See :func:`comfy_nodes.convert.to_core`.
    """
    from siren_ext.data.images import to_uint8
    from siren_ext.data.png import save_png

    for number, picture in enumerate(convert.to_core(pictures), start=1):
        stem = folder / f"picture {number}"
        save_png(stem.with_suffix(".png"), to_uint8(picture), text={}, exif=None, icc=None)
        if prompt.strip():
            stem.with_suffix(".txt").write_text(prompt.strip(), encoding="utf-8")


class WhichImages(io.ComfyNode):
    """Ranks images by their influence on pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenWhichImages",
            search_aliases=["attribution", "influence", "training data", "copyright", "similar"],
            display_name="Which Images?",
            category=CATEGORY,
            description="Ranks your images by an estimate of how much each one shaped a picture "
            "that a LoRA made. The estimate is rough. It does not prove that the "
            "picture is a copy, or that the LoRA was trained on your images: some "
            "image always ranks first. Writes a page. Queue an interrupted run again "
            "to resume it.",
            is_output_node=True,
            not_idempotent=True,
            inputs=_inputs(),
            outputs=[
                io.Image.Output(
                    "gallery",
                    display_name="gallery",
                    tooltip="Your images with the highest scores, starting with the highest.",
                ),
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="Scores and ranks with their intervals, and what they don't prove.",
                ),
                io.String.Output(
                    "page",
                    display_name="page",
                    tooltip="Path of attribution.html, relative to the output folder.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        base: str | None = None,
        lora: str | None = None,
        folder: str | None = None,
        save_as: str | None = None,
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(passive.base_file, base),
            paths.input_check(example_loras.lora_file, lora),
            paths.input_check(paths.image_folder, folder),
            paths.input_check(paths.new_output, save_as),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # files may have changed: always run

    @classmethod
    def execute(
        cls,
        pictures: Tensor,
        base: str,
        lora: str,
        lora_strength: float,
        folder: str,
        count: int,
        noises: int,
        save_as: str,
        prompt: str = "",
    ) -> io.NodeOutput:
        from siren_ext.attribution.config import AttributionConfig
        from siren_ext.data.dataset import ImageSet
        from siren_ext.suspects.local import LocalSuspect
        from siren_ext.workflows.image_attribution import rank_images

        config, out = AttributionConfig(noises=noises), paths.free_output(save_as)
        data = ImageSet.open(paths.image_folder(folder))
        model = LocalSuspect(
            passive.base_file(base),
            example_loras.lora_file(lora),
            scale=lora_strength,
            device=str(host.device()),
            dtype=torch.float32,
        )
        # beside the numbered folders, so that every later run of the same model is short
        stem = paths.new_output(save_as)
        cache = stem.with_name(f"{stem.name}_gradients.safetensors")
        with tempfile.TemporaryDirectory() as place, host.long_step() as progress:
            write_pictures(pictures, prompt, Path(place))
            asked = ImageSet.open(place)
            with host.learning():
                done = rank_images(data, asked, model, out, config, cache=cache, progress=progress)
        page, found = done.report.html, done.found
        notes = [f"Note: {text}" for text in (*data.notices, *found.notes)]
        notes += [f"Skipped {name}: {why}" for name, why in done.problems]
        limits = [f"Limit: {text}" for text in done.does_not_prove]
        batch = gallery(done.files[:count])
        return io.NodeOutput(
            batch,
            "\n".join([found.headline, *done.lines(count), *notes, *limits]),
            page.relative_to(paths.output_folder()).as_posix(),
            ui=ui.PreviewImage(batch, cls=cls).as_dict()
            | shown.shown(
                found.headline, [*done.lines(_LISTED), *notes, *limits[:_LIMITS]], page=page
            ),
        )


def _inputs() -> list[Any]:
    """What the node is given."""
    bases = passive.base_names()
    return [
        io.Image.Input(
            "pictures", tooltip="The picture in question. Several pictures are ranked together."
        ),
        io.Combo.Input(
            "base", options=bases, default=bases[0], tooltip="The model that the LoRA is for."
        ),
        io.Combo.Input(
            "lora",
            options=example_loras.lora_names(),
            default=files.NO_ADAPTER,
            tooltip="The LoRA that made the picture, in models/loras. With none, only the files "
            "are compared.",
        ),
        io.Float.Input(
            "lora_strength",
            default=1.0,
            min=-10.0,
            max=10.0,
            step=0.05,
            round=0.001,
            tooltip="Weight of the LoRA.",
        ),
        io.String.Input(
            "folder",
            default="pictures",
            tooltip="Name of the folder with your images inside ComfyUI's input or output folder.",
        ),
        io.Int.Input(
            "count",
            default=12,
            min=1,
            max=100,
            tooltip="Largest number of images to show in the gallery and the text.",
        ),
        io.Int.Input(
            "noises",
            default=10,
            min=2,
            max=100,
            tooltip="How often each of the ten noise levels is measured. Fewer repeats are "
            "faster, but give wider intervals.",
        ),
        io.String.Input(
            "save_as",
            default="siren/influence",
            tooltip="Name of the page's folder inside ComfyUI's output folder. A number is added.",
        ),
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            optional=True,
            tooltip="The prompt of the picture, if you know it.",
        ),
    ]
