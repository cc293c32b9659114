"""Asks a suspect to redraw a picture (image to image), where it offers that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from siren_ext.data.images import crop_view
from siren_ext.diffusion import families, pipelines
from siren_ext.diffusion.sampling import redraw_latents, seeded_noise
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.a1111 import A1111Suspect
from siren_ext.suspects.base import PromptPlan, Redraw, Suspect
from siren_ext.suspects.comfyui import ComfyUISuspect
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.function import FunctionSuspect
from siren_ext.suspects.local import LocalSuspect

if TYPE_CHECKING:
    from siren_ext.diffusion.load import Pipeline


def redrawer(suspect: Suspect, *, progress: Progress = NULL) -> tuple[Redraw | None, str]:
    """How a suspect redraws pictures.

    Parameters
    ----------
    suspect : Suspect
        Any suspect. Stable Diffusion 1.x and 2.x on this machine, AUTOMATIC1111 and ComfyUI can.
    progress : Progress
        Decides about cancelling while a web UI works.

    Returns
    -------
    tuple[Redraw | None, str]
        The function, or None and a sentence that says why there is none.
    """
    if isinstance(suspect, A1111Suspect):
        ui = suspect

        def by_web_ui(image: Tensor, plan: PromptPlan, index: int, strength: float) -> Tensor:
            return ui.redraw(image, plan, index, strength, progress)

        return by_web_ui, ""
    if isinstance(suspect, ComfyUISuspect):
        if suspect.own:
            return None, "With a workflow of your own, only new pictures can be made."
        server = suspect

        def by_server(image: Tensor, plan: PromptPlan, index: int, strength: float) -> Tensor:
            return server.redraw(image, plan, index, strength, progress)

        return by_server, ""
    if isinstance(suspect, FunctionSuspect):
        return suspect.redraw, "" if suspect.redraw else "Its function takes a prompt only."
    if isinstance(suspect, FolderSuspect):
        return None, "Of a folder of pictures, only the pictures can be compared."
    if isinstance(suspect, LocalSuspect):
        if "family" not in families.describe_model(suspect.model):  # loads no weights
            local = suspect

            def here(image: Tensor, plan: PromptPlan, index: int, strength: float) -> Tensor:
                return _redrawn(local.pipeline, image, plan, index, strength)

            return here, ""
        return None, "Pictures are redrawn with Stable Diffusion 1.x and 2.x only."
    return None, "This API offers no way to redraw a picture that siren-ext knows."


@torch.no_grad()
def _redrawn(
    pipeline: Pipeline, image: Tensor, plan: PromptPlan, index: int, strength: float
) -> Tensor:
    size = plan.size or pipelines.native_size(pipeline)
    seeds = [plan.seed + index]
    latents = pipelines.encode_latents(pipeline, crop_view(image[None], size))
    found = redraw_latents(
        pipeline,
        latents,
        seeded_noise(pipeline, seeds, size),
        pipelines.encode_prompts(pipeline, [plan.prompt(index)]),
        pipelines.encode_prompts(pipeline, [plan.negative]),
        strength=strength,
        steps=plan.steps,
        guidance=plan.guidance,
        sampler=plan.sampler,
        seeds=seeds,
    )
    return pipelines.decode_latents(pipeline, found)[0].cpu()
