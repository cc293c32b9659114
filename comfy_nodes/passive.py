"""The node for images that were published without a coating: was a LoRA trained on them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from . import example_loras, files, host, paths, shown
from .types import CATEGORY, schema

_POCKET = f"pocket{files.BUNDLED}"


def base_names() -> list[str]:
    """List the models that a LoRA may be for.

    Returns
    -------
    list[str]
        The bundled model, then the checkpoints that ComfyUI lists.
    """
    import folder_paths

    found = folder_paths.get_filename_list("checkpoints")
    return [_POCKET, *(name for name in found if name.endswith(".safetensors"))]


def base_file(name: str) -> str:
    """Find a listed model.

    Returns
    -------
    str
        ``pocket``, or the path of a checkpoint.

    Raises
    ------
    ModelError
        There is no such checkpoint.
    """
    import folder_paths

    from siren_ext.errors import ModelError

    if name == _POCKET:
        return "pocket"
    path = folder_paths.get_full_path("checkpoints", name)
    if path is None or not name.endswith(".safetensors"):
        raise ModelError(
            f"There is no checkpoint {name!r} in ComfyUI's models/checkpoints folder. Put the "
            ".safetensors file there and press R."
        )
    return str(path)


def lora_file(name: str) -> Path:
    """Find a listed LoRA.

    Returns
    -------
    Path
        Its file.

    Raises
    ------
    SirenError
        There is no such LoRA, or none was chosen.
    """
    from siren_ext.errors import AdapterError

    path = example_loras.lora_file(name)
    if path is None:
        raise AdapterError("No LoRA is chosen. Choose the suspicious LoRA.")
    return path


class PassiveTest(io.ComfyNode):
    """Compares published with unpublished images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        bases = base_names()
        return schema(
            node_id="SirenPassiveTest",
            search_aliases=["stolen images", "copyright", "membership inference", "verify lora"],
            display_name="Passive Test: images without a coating",
            category=CATEGORY,
            description="Tests whether a LoRA was trained on images that you published without a "
            "coating, by comparing them with images of the same kind that nobody has seen. Writes "
            "a report. Queue an interrupted run again to resume it.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "base",
                    options=bases,
                    default=bases[0],
                    tooltip="The model that the LoRA is for. It must not have seen your images.",
                ),
                io.Combo.Input(
                    "lora",
                    options=example_loras.lora_names(),
                    default=files.NO_ADAPTER,
                    tooltip="The suspicious LoRA, in models/loras.",
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
                    "published",
                    default="published",
                    tooltip="Name of the folder with your published images inside ComfyUI's input "
                    "folder; 20 or more, better 50.",
                ),
                io.String.Input(
                    "unpublished",
                    default="unpublished",
                    tooltip="Name of the folder with as many of your images of the same kind that "
                    "nobody has seen.",
                ),
                io.Float.Input(
                    "alpha",
                    default=1e-3,
                    min=1e-4,
                    max=0.5,
                    step=1e-4,
                    round=1e-6,
                    tooltip="Accepted risk of a false alarm. 0.001 is one in a thousand.",
                ),
                io.String.Input(
                    "save_as",
                    default="siren/passive",
                    tooltip="Name of the report's folder inside ComfyUI's output folder. A number "
                    "is added.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "page",
                    display_name="page",
                    tooltip="Path of report.html, relative to the output folder.",
                ),
                io.Float.Output(
                    "p",
                    display_name="p",
                    tooltip="How often chance alone would give such a difference.",
                ),
                io.String.Output(
                    "text", display_name="text", tooltip="The verdict in words, with its limits."
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        base: str | None = None,
        lora: str | None = None,
        published: str | None = None,
        unpublished: str | None = None,
        save_as: str | None = None,
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(base_file, base),
            paths.input_check(lora_file, lora),
            paths.input_check(paths.image_folder, published),
            paths.input_check(paths.image_folder, unpublished),
            paths.input_check(paths.new_output, save_as),
        )

    @classmethod
    def execute(
        cls,
        base: str,
        lora: str,
        lora_strength: float,
        published: str,
        unpublished: str,
        alpha: float,
        save_as: str,
    ) -> io.NodeOutput:
        from siren_ext.data.dataset import ImageSet
        from siren_ext.passive.config import PassiveConfig
        from siren_ext.passive.judge_config import JudgeConfig
        from siren_ext.suspects.local import LocalSuspect
        from siren_ext.workflows.passive_evidence import passive_evidence

        out, device = paths.free_output(save_as), str(host.device())
        sets = [ImageSet.open(paths.image_folder(name)) for name in (published, unpublished)]
        options: dict[str, Any] = {"device": device, "dtype": torch.float32}
        model = base_file(base)
        with host.long_step() as progress, host.learning():
            found = passive_evidence(
                *sets,
                LocalSuspect(model, lora_file(lora), scale=lora_strength, **options),
                LocalSuspect(model, **options),
                out,
                PassiveConfig(),
                JudgeConfig(alpha=alpha),
                progress=progress,
            )
        verdict, page = found.verdict, found.report.html
        lines = [verdict.headline, *(f"Note: {text}" for text in verdict.warnings)]
        lines += [f"Skipped {name}: {why}" for name, why in found.problems]
        title = verdict.outcome[:1].upper() + verdict.outcome[1:]
        text = "\n".join([title, *lines, *(f"Limit: {x}" for x in verdict.does_not_prove)])
        inside = page.relative_to(paths.output_folder()).as_posix()
        note = shown.shown(title, lines, page=page)
        return io.NodeOutput(inside, verdict.comparison.p_value, text, ui=note)
