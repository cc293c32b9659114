"""ComfyUI node pack: coat images before publishing them, and test models for the coating.

Put this folder (under any name) into ComfyUI's ``custom_nodes``. Nothing is imported until ComfyUI
asks for the nodes, and the diffusion libraries are not imported until a node needs them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


def _find_package() -> None:
    """Make siren_ext importable: the copy in a built pack, what is installed, or the checkout's."""
    here = Path(__file__).resolve().parent
    if (here / "lib" / "siren_ext").is_dir():
        sys.path.insert(0, str(here / "lib"))
    elif find_spec("siren_ext") is None and (here.parent / "siren_ext").is_dir():
        # last, because a checkout has more folders than this package
        sys.path.append(str(here.parent))


_find_package()


async def comfy_entrypoint() -> Any:
    """Build the extension object that ComfyUI asks for (V3 schema).

    Returns
    -------
    ComfyExtension
        Lists all nodes of the pack.
    """
    from comfy_api.latest import ComfyExtension

    from .attribution import WhichImages
    from .generate import PocketSampler, PromptBatch
    from .keyed import CommitCoating, KeyedVerify, LoadKey, NewKey
    from .official import ImportCheckpoints
    from .passive import PassiveTest
    from .paths import register_folder
    from .protect import CoatFolder, CoatImage, LoadCoater
    from .publish import SaveCoatedImage
    from .robustness import Robustness
    from .train import TrainCoater
    from .train_adapter import TrainAdapter
    from .verify import KSVerify, LoadScores, SaveScores, ScoreCoating, VerificationReport
    from .verify_model import VerifyModel

    class SirenExtension(ComfyExtension):
        """Lists the nodes."""

        async def get_node_list(self) -> list[type]:
            return [
                LoadCoater,
                CoatImage,
                SaveCoatedImage,
                CoatFolder,
                Robustness,
                TrainCoater,
                TrainAdapter,
                ImportCheckpoints,
                ScoreCoating,
                LoadScores,
                SaveScores,
                KSVerify,
                VerificationReport,
                NewKey,
                LoadKey,
                CommitCoating,
                KeyedVerify,
                VerifyModel,
                PassiveTest,
                WhichImages,
                PromptBatch,
                PocketSampler,
            ]

    register_folder()
    return SirenExtension()
