"""The node that tests a model by its file: does it know the coating and the key's message?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from . import commitments, example_loras, files, host, paths, shown
from .passive import base_file, base_names, base_places
from .types import (
    CATEGORY,
    Case,
    CoaterSocket,
    KeySocket,
    VerdictSocket,
    graph_inputs,
    schema,
)
from .verify import ALPHA, in_words

if TYPE_CHECKING:
    from siren_ext.preference.tint import Likeness
    from siren_ext.suspects.local import LocalSuspect


def _outputs() -> list[Any]:
    """What the node returns."""
    return [
        VerdictSocket.Output("verdict", display_name="verdict", tooltip="For Verification Report."),
        io.Float.Output(
            "p", display_name="p", tooltip="How often a random message fits equally well."
        ),
        io.String.Output(
            "text",
            display_name="text",
            tooltip="The verdict in words, with warnings and limits.",
        ),
        io.String.Output(
            "page",
            display_name="page",
            tooltip="Path of report.html, relative to the output folder.",
        ),
        io.Image.Output(
            "tints",
            display_name="tints",
            tooltip="What the model adds to your images, and what the coating adds, amplified. "
            "They reveal the message: don't publish them.",
        ),
    ]


def _pictures(alike: Likeness | None) -> Tensor:
    """Both tints as a batch of two; grey if there are none."""
    from siren_ext.report.learnt import amplification, amplified

    if alike is None:
        return torch.full((2, 192, 192, 3), 0.5)
    tints = [amplified(one, amplification(one)) for one in (alike.learnt, alike.expected)]
    return torch.stack([torch.from_numpy(one) for one in tints]).float() / 255


def _tint_text(alike: Likeness | None) -> str:
    """How alike both tints are, in words."""
    if alike is None:
        return ""
    return (
        f"\nLearnt tint: correlation {alike.correlation:.2f} with the expected one, "
        f"{alike.at_least} of {alike.others} random messages as well. It decides nothing."
    )


@contextlib.contextmanager
def _compared(
    base: str, lora: str, strength: float, clean: str, parts: tuple[Any, Any, Any], control: Any
) -> Iterator[tuple[LocalSuspect, list[LocalSuspect]]]:
    """The suspect and its controls: models of the workflow, or files."""
    from siren_ext.suspects.local import LocalSuspect

    from . import graph_checkpoint as graph

    device = str(host.device())
    if graph.connected(parts, control, "the files base and lora", lora, clean):
        with graph.written(*graph.with_control(parts, control), device=device) as found:
            yield found[0], [*found[1:]]
        return
    options: dict[str, Any] = {"device": device, "dtype": torch.float32}
    model, adapter = base_file(base), example_loras.lora_file(clean)
    suspect = LocalSuspect(model, example_loras.lora_file(lora), scale=strength, **options)
    yield suspect, [LocalSuspect(model, adapter, **options)] if adapter else []


class VerifyModel(io.ComfyNode):
    """Measures a model's file and tests a key against the measurement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        bases = base_names()
        return schema(
            node_id="SirenVerifyModel",
            search_aliases=["verify lora", "check model", "stolen images", "copyright", "proof"],
            display_name="Verify Model",
            category=CATEGORY,
            description="Tests, from the file of a LoRA or checkpoint, whether the model learned "
            "your coating. It needs your originals and your key, but no pictures from "
            "the model. Writes a report. Queue an interrupted run again to resume it.",
            is_output_node=True,
            inputs=[
                io.Combo.Input(
                    "base",
                    options=bases,
                    default=bases[0],
                    tooltip="The model that the LoRA is for, or the suspicious checkpoint: Stable "
                    "Diffusion 1.x, 2.x or XL.",
                ),
                io.Combo.Input(
                    "lora",
                    options=example_loras.lora_names(),
                    default=files.NO_ADAPTER,
                    tooltip="The suspicious LoRA, in models/loras; 'none' to test the checkpoint.",
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
                    "originals",
                    default="originals",
                    tooltip="Name of the folder, inside ComfyUI's input folder, with the "
                    "originals of the images that you coated, and their captions.",
                ),
                CoaterSocket.Input(
                    "coater", tooltip="The keyed coater that your images were coated with."
                ),
                KeySocket.Input(
                    "key", tooltip="The key that your published images were coated with."
                ),
                io.Combo.Input(
                    "control",
                    options=example_loras.lora_names(),
                    default=files.NO_ADAPTER,
                    tooltip="A LoRA for the same base that you trained on the originals; its "
                    "effect is subtracted. 'none' subtracts nothing.",
                ),
                io.Float.Input("alpha", **ALPHA),
                io.String.Input(
                    "save_as",
                    default="siren/model",
                    tooltip="Name of the report's folder inside ComfyUI's output folder. A number "
                    "is added.",
                ),
                io.Combo.Input(
                    "commitment",
                    options=commitments.commitment_names(),
                    default=commitments.NO_COMMITMENT,
                    optional=True,
                    tooltip="The file that Commit wrote before you published the images, if any.",
                ),
                *graph_inputs(
                    "With model: a model of the same base that learned your originals, or that "
                    "can't have seen your images; its effect is subtracted. It is used with the "
                    "same clip and vae. Optional."
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def validate_inputs(
        cls,
        base: str | None = None,
        lora: str | None = None,
        originals: str | None = None,
        control: str | None = None,
        save_as: str | None = None,
        commitment: str | None = None,
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(base_file, base),
            paths.input_check(example_loras.lora_file, lora),
            paths.input_check(paths.image_folder, originals),
            paths.input_check(example_loras.lora_file, control),
            paths.input_check(paths.new_output, save_as),
            paths.input_check(commitments.commitment_file, commitment),
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        base: str | None,
        lora: str | None,
        originals: str | None,
        control: str | None,
        commitment: str | None = commitments.NO_COMMITMENT,
        **_: Any,
    ) -> str | float:
        return paths.fingerprint(
            (base_places, base),
            (example_loras.lora_file, lora),
            (paths.image_folder, originals),
            (example_loras.lora_file, control),
            (commitments.commitment_file, commitment),
        )

    @classmethod
    def execute(
        cls,
        base: str,
        lora: str,
        lora_strength: float,
        originals: str,
        coater: Any,
        key: Any,
        control: str,
        alpha: float,
        save_as: str,
        commitment: str = commitments.NO_COMMITMENT,
        model: Any = None,
        clip: Any = None,
        vae: Any = None,
        control_model: Any = None,
    ) -> io.NodeOutput:
        from siren_ext.data.dataset import ImageSet
        from siren_ext.verdict.config import VerifyConfig
        from siren_ext.workflows.preference_evidence import preference_evidence

        out = paths.free_output(save_as)
        parts = (model, clip, vae)
        models = _compared(base, lora, lora_strength, control, parts, control_model)
        # files are written before gradients are enabled
        with host.long_step() as progress, models as (suspect, controls), host.learning():
            found = preference_evidence(
                suspect,
                ImageSet.open(paths.image_folder(originals)),
                coater,
                key,
                out,
                config=VerifyConfig(alpha=alpha),
                controls=controls,
                standing=lambda scores: commitments.standing(commitment, scores, key),
                progress=progress,
            )
        kept = found.measurement.relative_to(paths.output_folder()).as_posix()
        text = in_words(found.verdict)
        text += _tint_text(found.alike)
        text += "".join(f"\nSkipped {name}: {why}" for name, why in found.problems)
        text += f"\nThe measurement was saved in output/{kept}. Keep it as secret as the key."
        return io.NodeOutput(
            Case(found.verdict, found.measured, None),
            found.verdict.deciding.p_value,
            text,
            found.report.html.relative_to(paths.output_folder()).as_posix(),
            _pictures(found.alike),
            ui=shown.verdict_shown(found.verdict, page=found.report.html),
        )
