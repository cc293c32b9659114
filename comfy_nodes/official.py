"""The node that makes a coater from the two checkpoint files that SIREN's authors published."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from . import files, host, paths, shown
from .types import CATEGORY, CoaterSocket, schema


class ImportCheckpoints(io.ComfyNode):
    """Makes a coater from the published generator and extractor."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = files.checkpoint_names() or [files.NO_CHECKPOINTS]

        def first(word: str) -> str:
            return next((name for name in names if word in name.lower()), names[0])

        return schema(
            node_id="SirenImportCheckpoints",
            search_aliases=["siren official", "pth"],
            display_name="Import SIREN Checkpoints",
            category=CATEGORY,
            description="Makes a coater from the two .pth files that SIREN's authors published and "
            "saves it in models/siren. Only import files from a source that you trust.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "generator",
                    options=names,
                    default=first("encoder"),
                    tooltip="The generator file in models/siren, such as end_encoder.pth.",
                ),
                io.Combo.Input(
                    "extractor",
                    options=names,
                    default=first("decoder"),
                    tooltip="The extractor file of the same pair, such as end_decoder.pth.",
                ),
                io.String.Input(
                    "folder",
                    default="",
                    tooltip="Only for a meta-learned pair, which has no centre: name of a folder "
                    "with your clean images, inside ComfyUI's input folder.",
                ),
                io.String.Input(
                    "save_as",
                    default="published coater",
                    tooltip="Name of the new file in models/siren. An existing file is never "
                    "overwritten.",
                ),
            ],
            outputs=[
                CoaterSocket.Output(
                    "coater", display_name="coater", tooltip="For Coat Image and Score Coating."
                ),
                io.String.Output("file", display_name="file", tooltip="Its name in models/siren."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        generator: str | None = None,
        extractor: str | None = None,
        folder: str | None = None,
        save_as: str | None = None,
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(files.checkpoint_file, generator),
            paths.input_check(files.checkpoint_file, extractor),
            paths.input_check(paths.image_folder, (folder or "").strip() or None),
            paths.input_check(files.new_coater_file, save_as),
        )

    @classmethod
    def fingerprint_inputs(cls, generator: str, extractor: str, **_: Any) -> Any:
        return [paths.stamp(files.checkpoint_file(name)) for name in (generator, extractor)]

    @classmethod
    def execute(cls, generator: str, extractor: str, folder: str, save_as: str) -> io.NodeOutput:
        from siren_ext.coater.official import import_official

        out = files.new_coater_file(save_as)
        data = paths.image_folder(folder) if folder.strip() else None
        # weights made in inference mode could not be trained further
        with host.long_step() as progress, torch.inference_mode(False):
            made = import_official(
                files.checkpoint_file(generator),
                files.checkpoint_file(extractor),
                out,
                data,
                device=host.device(),
                progress=progress,
            )
            made.coater.to(host.device())
        name = files.coater_name(out)
        lines = [f"models/{paths.MODELS}/{name}", made.summary]
        if made.images is not None:
            lines += [f"skipped {bad}: {why}" for bad, why in made.images.problems]
            lines += made.images.notices
        note = shown.shown("Coater saved", lines, tone="good")
        return io.NodeOutput(made.coater, name, ui=note | {"text": ["\n".join(lines)]})
