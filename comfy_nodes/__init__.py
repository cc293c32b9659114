"""ComfyUI node pack: coat images before publishing them, and test models for the coating.

Put this folder (under any name) into ComfyUI's ``custom_nodes``. Nothing is imported until ComfyUI
asks for the nodes, and the diffusion libraries are not imported until a node needs them.
"""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> Any:
    """Build the extension object that ComfyUI asks for (V3 schema).

    Returns
    -------
    ComfyExtension
        Lists all nodes of the pack.
    """
    from comfy_api.latest import ComfyExtension

    from .generate import PocketSampler, PromptBatch
    from .keyed import KeyedVerify, LoadKey
    from .official import ImportCheckpoints
    from .paths import register_folder
    from .protect import CoatFolder, CoatImage, LoadCoater
    from .publish import SaveCoatedImage
    from .train import TrainCoater
    from .verify import KSVerify, LoadScores, SaveScores, ScoreCoating, VerificationReport

    class SirenExtension(ComfyExtension):
        """Lists the nodes."""

        async def get_node_list(self) -> list[type]:
            return [
                LoadCoater,
                CoatImage,
                SaveCoatedImage,
                CoatFolder,
                TrainCoater,
                ImportCheckpoints,
                ScoreCoating,
                LoadScores,
                SaveScores,
                KSVerify,
                VerificationReport,
                LoadKey,
                KeyedVerify,
                PromptBatch,
                PocketSampler,
            ]

    register_folder()
    return SirenExtension()
