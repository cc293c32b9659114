"""Types of the links between the nodes of this pack."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from siren_ext.scoring.score_set import ScoreSet
    from siren_ext.verdict.verify import Verdict

CATEGORY = "siren"

CoaterSocket = io.Custom("SIREN_COATER")
ScoresSocket = io.Custom("SIREN_SCORES")
VerdictSocket = io.Custom("SIREN_VERDICT")
KeySocket = io.Custom("SIREN_KEY")
CoatingSocket = io.Custom("SIREN_COATING")


@dataclass(frozen=True)
class Coating:
    """What Coat Image did, for Save Coated Image: in words, and the images by their pixels.

    Attributes
    ----------
    title, lines : str, tuple[str, ...]
        What the coating is worth, see :func:`comfy_nodes.publish.protection`.
    digests : frozenset[str]
        SHA-256 of the coated pixels.
    untouched : frozenset[str]
        Those of the images to which nothing was added.
    """

    title: str
    lines: tuple[str, ...]
    digests: frozenset[str]
    untouched: frozenset[str]


@dataclass(frozen=True)
class Case:
    """A verdict with the scores behind it: everything that a report needs."""

    verdict: Verdict
    suspect: ScoreSet
    reference: ScoreSet | None


def schema(**options: Any) -> io.Schema:
    """A node's schema, without what this version of ComfyUI does not know.

    Parameters
    ----------
    **options : Any
        For ``io.Schema``. ``search_aliases``, words under which the node is found, came with
        later versions.

    Returns
    -------
    io.Schema
        The schema.
    """
    if is_dataclass(io.Schema):
        known = {field.name for field in fields(io.Schema)}
        options = {name: value for name, value in options.items() if name in known}
    return io.Schema(**options)


def graph_inputs(control: str) -> list[Any]:
    """The inputs for models of the workflow, in place of files.

    Parameters
    ----------
    control : str
        Tooltip of the model to compare with.

    Returns
    -------
    list[Any]
        Four optional inputs: MODEL, CLIP and VAE of the suspicious model, and another MODEL.
    """
    return [
        io.Model.Input(
            "model",
            optional=True,
            tooltip="The suspicious model of this workflow, with its LoRAs, in place of base and "
            "lora: Stable Diffusion 1.x. Connect model, clip and vae, or none of them.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="Of the suspicious model."),
        io.Vae.Input("vae", optional=True, tooltip="Of the suspicious model."),
        io.Model.Input("control_model", optional=True, tooltip=control),
    ]
