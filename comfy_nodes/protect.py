"""Nodes to use before publishing: load a coater, coat images and folders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from . import convert, files, host, paths, publish, shown
from .types import CATEGORY, CoaterSocket, CoatingSocket, KeySocket, schema

AMPLIFICATION = 10
KEY_TIP = "From Load Key. A keyed coater needs it; other coaters can't use one."
STRENGTH_TIP = (
    "Strength of the coating. 1 is normal. A higher value is easier to detect, but also "
    "easier to see."
)


@lru_cache(maxsize=4)
def _coater(path: Path, _stamp: tuple[int, int], device: torch.device) -> Any:
    from siren_ext.coater.coater import Coater

    with torch.inference_mode(False):  # so that training may start from it
        return Coater.load(path, device=device)


class LoadCoater(io.ComfyNode):
    """Loads a coater file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenLoadCoater",
            search_aliases=["watermark", "glaze", "nightshade", "protect image"],
            display_name="Load Coater",
            category=CATEGORY,
            description="Loads a coater: the secret file that adds the coating and later detects "
            "it.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=files.coater_names(),
                    default=f"keyed{files.BUNDLED}",
                    tooltip="A bundled coater, to try things out (everybody has it), or your own "
                    "file in models/siren. A keyed one needs a key from New Key or Load Key.",
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
        return paths.input_check(files.coater_file, name)

    @classmethod
    def fingerprint_inputs(cls, name: str) -> Any:
        return paths.stamp(files.coater_file(name))

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        path = files.coater_file(name)
        coater = _coater(path, paths.stamp(path), host.device())
        if not publish.is_public(coater):
            return io.NodeOutput(coater)
        title, lines = publish.protection(coater, key=False)
        return io.NodeOutput(coater, ui=shown.shown(title, lines, tone="warn"))


class CoatImage(io.ComfyNode):
    """Coats images, ready for Save Image."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenCoatImage",
            search_aliases=[
                "watermark",
                "protect image",
                "glaze",
                "cloak",
                "copyright",
                "anti AI",
                "poison",
            ],
            display_name="Coat Image",
            category=CATEGORY,
            description="Adds the invisible coating. Place it right before Save Image: any later "
            "change to the image weakens the coating.",
            inputs=[
                CoaterSocket.Input("coater", tooltip="From Load Coater or Train Coater."),
                io.Image.Input("image", tooltip="One or more images. Transparency is not changed."),
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
                    tooltip="No coating is added where the mask is white: the transparent part of "
                    "an image from Load Image, or what you painted in the mask editor.",
                ),
                KeySocket.Input("key", optional=True, tooltip=KEY_TIP),
            ],
            outputs=[
                io.Image.Output(
                    "coated",
                    display_name="coated",
                    tooltip="Rounded to 8 bits, so that Save Image (PNG) keeps it exactly.",
                ),
                io.Image.Output(
                    "difference",
                    display_name="difference",
                    tooltip=f"What was added, amplified {AMPLIFICATION} times, on grey.",
                ),
                CoatingSocket.Output(
                    "record",
                    display_name="record",
                    tooltip="What was done, for Save Coated Image.",
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
        from siren_ext.data.images import quantise

        publish.require_key(coater, key)
        image = convert.plain_tensor(image)
        images, mask = convert.to_core(image), convert.to_keep(keep, image)
        masks = [None] * len(images) if mask is None else mask.expand(len(images), -1, -1, -1)
        coated = image.to("cpu", torch.float32, copy=True)
        digests, untouched = [], []
        with host.long_step() as progress:
            progress.stage("Coating", len(images))
            for index, (one, part) in enumerate(zip(images.split(1), masks, strict=True)):
                part = None if part is None else part[None]
                done = coat_images(one, coater, strength=strength, keep=part, key=key)
                # a fourth channel stays unchanged
                coated[index, ..., :3] = done[0].movedim(0, -1)
                digests.append(publish.digest_of(publish.pixels_of(coated[index])))
                if torch.equal(done.cpu(), quantise(one.cpu())):
                    untouched.append(index + 1)
                progress.advance()
        # in place, because each copy of a large image takes time
        difference = coated[..., :3] - image[..., :3].cpu()
        difference.mul_(AMPLIFICATION).add_(0.5).clamp_(0, 1)
        return io.NodeOutput(
            coated,
            difference,
            publish.coating_of(coater, key, digests, untouched),
            ui=_coated(coater, key, untouched, len(coated)),
        )


LAYOUTS = ["plain", "kohya", "imagefolder", "onetrainer", "ai-toolkit", "musubi"]


class CoatFolder(io.ComfyNode):
    """Coats all images of a folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenCoatFolder",
            search_aliases=[
                "watermark folder",
                "protect images",
                "glaze",
                "cloak",
                "copyright",
                "batch",
            ],
            display_name="Coat Folder",
            category=CATEGORY,
            description="Coats every image in a folder. Names, captions, transparency and EXIF are "
            "kept. Queue an interrupted run again to resume it.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                CoaterSocket.Input("coater", tooltip="From Load Coater or Train Coater."),
                io.String.Input(
                    "folder",
                    default="pictures",
                    tooltip="Name of a folder inside ComfyUI's input or output folder.",
                ),
                io.String.Input(
                    "save_as",
                    default="siren/coated",
                    tooltip="Name of the new folder inside ComfyUI's output folder.",
                ),
                io.Combo.Input(
                    "layout",
                    options=LAYOUTS,
                    default="plain",
                    tooltip="plain keeps the subfolders. The other layouts are for the training "
                    "programs that they are named after.",
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
                    tooltip="Share of the images to coat, 0 to 1. The others are copied.",
                ),
                KeySocket.Input("key", optional=True, tooltip=KEY_TIP),
                io.Combo.Input(
                    "format",
                    options=["png", "keep", "jpeg", "webp"],
                    default="png",
                    optional=True,
                    tooltip="png is exact. keep uses each image's own format. Compression "
                    "(quality 95) can weaken the coating; the summary shows how much.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "saved_in",
                    display_name="saved_in",
                    tooltip="The folder, relative to the output folder.",
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
        return float("nan")  # files may have changed: always run

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
        format: str = "png",
    ) -> io.NodeOutput:
        from siren_ext.coating.folder import coat_folder
        from siren_ext.coating.formats import compression_words
        from siren_ext.coating.manifest import CoatConfig
        from siren_ext.coating.outputs import left_over_words
        from siren_ext.data.dataset import ImageSet

        publish.require_key(coater, key)
        out = paths.new_output(save_as)
        config = CoatConfig.from_dict(
            {"strength": strength, "share": share, "layout": layout, "format": format}
        )
        with host.long_step() as progress:
            data = ImageSet.open(paths.image_folder(folder))
            manifest = coat_folder(data, coater, out, config, key=key, progress=progress)
        count = sum(entry.coated for entry in manifest.entries)
        name = out.relative_to(paths.output_folder()).as_posix()
        first = f"{count} of {len(manifest.entries)} images coated in {name}"
        lines = [f"skipped {bad.source}: {bad.error}" for bad in manifest.failures]
        lines += [
            f"{note} ({', '.join(names[:3])}{f' and {len(names) - 3} more' if names[3:] else ''})"
            for note, names in manifest.notes().items()
        ]
        lines += [*filter(None, [compression_words(manifest.entries)]), *data.notices]
        lines += filter(None, [left_over_words(manifest, data, Path(name))])
        title, worth = publish.protection(coater, key=key is not None)
        lines += [f"{title}. {' '.join(worth)}"]
        fine = title == publish.PROTECTED and not manifest.failures and count
        return io.NodeOutput(
            name,
            "\n".join([first, *lines]),
            ui=shown.shown(first, lines, tone="good" if fine else "warn"),
        )


def _coated(coater: Any, key: Any, untouched: list[int], count: int) -> dict[str, Any]:
    """What Coat Image shows."""
    title, lines = publish.protection(coater, key=key is not None)
    lines += publish.nothing_added(untouched, count)
    if len(untouched) == count:
        title = "Nothing was added"
    tone: shown.Tone = "good" if title == publish.PROTECTED and not untouched else "warn"
    return shown.shown(title, lines, tone=tone)
