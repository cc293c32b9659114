"""ComfyUI node pack: coat images against training, and test models for the coating.

Put this folder (under any name) into ComfyUI's ``custom_nodes``. Nothing is loaded before ComfyUI
asks for the nodes, and the diffusion libraries not before a node needs them.
"""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> Any:
    """The extension object that ComfyUI asks for (V3 schema)."""
    from comfy_api.latest import ComfyExtension

    from .generate import PocketSampler, PromptBatch
    from .keyed import KeyedVerify, LoadKey
    from .official import ImportCheckpoints
    from .paths import register_folder
    from .protect import CoatFolder, CoatImage, LoadCoater, TrainCoater
    from .verify import KSVerify, LoadScores, SaveScores, ScoreCoating, VerificationReport

    class SirenExtension(ComfyExtension):
        """All nodes of the pack."""

        async def get_node_list(self) -> list[type]:
            return [
                LoadCoater,
                CoatImage,
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
