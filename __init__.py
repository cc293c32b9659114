"""Lets ComfyUI use the whole repository, cloned into ``custom_nodes``, as a node pack."""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./comfy_nodes/web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> Any:
    """The pack's extension; see :func:`comfy_nodes.comfy_entrypoint`."""
    from .comfy_nodes import comfy_entrypoint as entrypoint

    return await entrypoint()
