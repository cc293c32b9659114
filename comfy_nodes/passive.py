"""The node for images that were published without a coating: was a model trained on them?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from . import example_loras, files, host, paths, shown
from .types import CATEGORY, graph_inputs, schema

if TYPE_CHECKING:
    from siren_ext.suspects.local import LocalSuspect

NOT_CONNECTED = object()
"""Default of an input in ``validate_inputs``, where None is an input that is connected."""
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


def base_places(name: str) -> list[Path]:
    """The files that decide what a listed model is.

    Returns
    -------
    list[Path]
        The checkpoint, and the folder beside it that may have its settings; none for the bundled
        model, which does not change.

    Raises
    ------
    ModelError
        There is no such checkpoint.
    """
    path = Path(base_file(name))
    return [] if name == _POCKET else [path, path.with_suffix("")]


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


def _outputs() -> list[Any]:
    """What the node returns."""
    return [
        io.String.Output(
            "page",
            display_name="page",
            tooltip="Path of report.html, relative to the output folder.",
        ),
        io.Float.Output(
            "p",
            display_name="p",
            tooltip="How often chance alone would give a difference like this.",
        ),
        io.String.Output(
            "text", display_name="text", tooltip="The verdict in words, with its limits."
        ),
    ]


@contextlib.contextmanager
def _compared(
    base: str, lora: str, strength: float, parts: tuple[Any, Any, Any], control: Any
) -> Iterator[tuple[LocalSuspect, LocalSuspect]]:
    """The suspect and its control: models of the workflow, or files."""
    from siren_ext.errors import ModelError
    from siren_ext.suspects.local import LocalSuspect

    from . import graph_checkpoint as graph

    device = str(host.device())
    options: dict[str, Any] = {"device": device, "dtype": torch.float32}
    if not graph.connected(parts, control, "the files base and lora", lora):
        path, adapter = base_file(base), lora_file(lora)
        yield LocalSuspect(path, adapter, scale=strength, **options), LocalSuspect(path, **options)
        return
    if control is None and base == _POCKET:
        raise ModelError(
            f"The control is {_POCKET}, but that is not the base of the workflow's model. Connect "
            "a model that can't have seen your images to control_model, or choose its checkpoint "
            "at base."
        )
    with graph.written(*graph.with_control(parts, control), device=device) as found:
        yield found[0], found[1] if len(found) > 1 else LocalSuspect(base_file(base), **options)


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
            description="Tests whether a model was trained on images that you published without a "
            "coating, by comparing them with images of the same kind that nobody else "
            "has seen. Writes a report. Queue an interrupted run again to resume it.",
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
                    tooltip="Name of the folder with your published images, inside ComfyUI's "
                    "input folder. It needs at least 20 images; 50 are better.",
                ),
                io.String.Input(
                    "unpublished",
                    default="unpublished",
                    tooltip="Name of the folder with as many images of yours of the same kind "
                    "that nobody else has seen.",
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
                *graph_inputs(
                    "With model: a model that can't have seen your images, such as the checkpoint "
                    "before its LoRA. It is used with the same clip and vae. Without it, base is "
                    "the control."
                ),
                io.String.Input(
                    "keyed_page",
                    optional=True,
                    force_input=True,
                    tooltip="The page of a keyed test on the same model, from Verification Report "
                    "or Verify Model, so that both verdicts are given together.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def validate_inputs(
        cls,
        base: str | None = None,
        lora: str | None = None,
        published: str | None = None,
        unpublished: str | None = None,
        save_as: str | None = None,
        model: Any = NOT_CONNECTED,
    ) -> bool | str:
        # a connected input has no value yet, which is None
        wanted = lora if model is NOT_CONNECTED else None
        return paths.all_of(
            paths.input_check(base_file, base),
            paths.input_check(lora_file, wanted),
            paths.input_check(paths.image_folder, published),
            paths.input_check(paths.image_folder, unpublished),
            paths.input_check(paths.new_output, save_as),
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        base: str | None,
        lora: str | None,
        published: str | None,
        unpublished: str | None,
        **_: Any,
    ) -> str | float:
        return paths.fingerprint(
            (base_places, base),
            (example_loras.lora_file, lora),
            (paths.image_folder, published),
            (paths.image_folder, unpublished),
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
        model: Any = None,
        clip: Any = None,
        vae: Any = None,
        control_model: Any = None,
        keyed_page: str | None = None,
    ) -> io.NodeOutput:
        from siren_ext.data.dataset import ImageSet
        from siren_ext.passive.config import CompletionConfig, PassiveConfig
        from siren_ext.passive.judge_config import JudgeConfig
        from siren_ext.report.keyed_summary import keyed_summary
        from siren_ext.workflows.passive_evidence import passive_evidence

        keyed = keyed_summary(paths.new_output(keyed_page)) if keyed_page else None
        out = paths.free_output(save_as)
        sets = [ImageSet.open(paths.image_folder(name)) for name in (published, unpublished)]
        models = _compared(base, lora, lora_strength, (model, clip, vae), control_model)
        # files are written before gradients are enabled
        with host.long_step() as progress, models as compared, host.learning():
            found = passive_evidence(
                *sets,
                *compared,
                out,
                PassiveConfig(),
                JudgeConfig(alpha=alpha),
                completion=CompletionConfig(),
                keyed=keyed,
                progress=progress,
            )
        verdict, page = found.verdict, found.report.html
        lines = [verdict.headline, *filter(None, [verdict.combined])]
        lines += [f"Note: {text}" for text in verdict.warnings]
        lines += [f"Skipped {name}: {why}" for name, why in found.problems]
        title = verdict.outcome[:1].upper() + verdict.outcome[1:]
        text = "\n".join([title, *lines, *(f"Limit: {x}" for x in verdict.does_not_prove)])
        inside = page.relative_to(paths.output_folder()).as_posix()
        note = shown.shown(title, lines, page=page)
        return io.NodeOutput(inside, verdict.comparison.p_value, text, ui=note)
