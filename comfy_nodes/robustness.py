"""The node to use before publishing: what edits, codecs and restoring leave of a coating."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import host, paths, shown
from .types import CATEGORY, CoaterSocket, KeySocket, schema


def config_of(count: int, side: int, strength: float, attacks: str) -> Any:
    """The settings of a measurement.

    Parameters
    ----------
    count, side, strength
        As in :class:`~siren_ext.workflows.robustness.RobustnessConfig`.
    attacks : str
        Names separated by commas; empty for all quick ones.

    Returns
    -------
    RobustnessConfig
        Checked settings.

    Raises
    ------
    ConfigError
        A value is out of range, or there is no attack of a name.
    """
    from siren_ext.workflows.robustness import RobustnessConfig

    names = tuple(name.strip() for name in attacks.split(",") if name.strip())
    return RobustnessConfig(images=count, side=side, strength=strength, attacks=names)


class Robustness(io.ComfyNode):
    """Coats a sample of a folder, attacks it and scores what is left."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="SirenRobustness",
            search_aliases=["robustness", "attack", "watermark removal", "jpeg", "durability"],
            display_name="How Robust Is My Coating?",
            category=CATEGORY,
            description="Coats a sample of your images, edits and compresses them as other people "
            "might, and shows what is left of the coating. This is about the coating "
            "in the images, not about what a model learns from them. Queue an "
            "interrupted run again to resume it.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                CoaterSocket.Input("coater", tooltip="From Load Coater or Train Coater."),
                io.String.Input(
                    "folder",
                    default="pictures",
                    tooltip="Name of a folder inside ComfyUI's input or output folder, with your "
                    "uncoated images; 24 or more.",
                ),
                io.Int.Input(
                    "count",
                    default=48,
                    min=8,
                    max=500,
                    tooltip="Largest number of images to use, 8 to 500.",
                ),
                io.Int.Input(
                    "side",
                    default=512,
                    min=64,
                    max=4096,
                    tooltip="Images whose longest side is larger than this (in pixels) are shrunk "
                    "to it first.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.05,
                    max=10.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Strength of the coating. 1 is normal.",
                ),
                io.String.Input(
                    "attacks",
                    default="",
                    tooltip="Names separated by commas, such as jpeg, blur, regenerate; leave it "
                    "empty for all quick ones. The help page lists them.",
                ),
                io.String.Input(
                    "save_as",
                    default="siren/robustness",
                    tooltip="Name of the new folder inside ComfyUI's output folder. A number is "
                    "added.",
                ),
                KeySocket.Input(
                    "key",
                    optional=True,
                    tooltip="From Load Key, for a keyed coater. Without it, a random message is "
                    "used for this test.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "page",
                    display_name="page",
                    tooltip="Path of robustness.html, relative to the output folder.",
                ),
                io.String.Output(
                    "text", display_name="text", tooltip="One line for each attack, and notes."
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, folder: str | None = None, save_as: str | None = None, attacks: str | None = None
    ) -> bool | str:
        return paths.all_of(
            paths.input_check(paths.image_folder, folder),
            paths.input_check(paths.new_output, save_as),
            paths.input_check(lambda names: config_of(48, 512, 1.0, names), attacks),
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return float("nan")  # files may have changed: always run

    @classmethod
    def execute(
        cls,
        coater: Any,
        folder: str,
        count: int,
        side: int,
        strength: float,
        attacks: str,
        save_as: str,
        key: Any = None,
    ) -> io.NodeOutput:
        from siren_ext.data.dataset import ImageSet
        from siren_ext.workflows.robustness import measure_robustness
        from siren_ext.workflows.robustness_result import PAGE

        config, out = config_of(count, side, strength, attacks), paths.free_output(save_as)
        data = ImageSet.open(paths.image_folder(folder))
        with host.long_step() as progress:
            found = measure_robustness(data, coater, out, config, key=key, progress=progress)
        lines = [*found.lines(), *(f"Note: {text}" for text in found.warnings())]
        lines += [f"Skipped {name}: {why}" for name, why in found.problems.items()]
        page = (out / PAGE).relative_to(paths.output_folder()).as_posix()
        return io.NodeOutput(
            page,
            "\n".join([found.summary(), *lines]),
            ui=shown.shown(found.summary(), lines, page=out / PAGE),
        )
