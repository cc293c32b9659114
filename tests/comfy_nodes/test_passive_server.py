"""The node for images without a coating, in the real ComfyUI server."""

from __future__ import annotations

from typing import Any

import pytest
from support.comfy_server import Server, events
from support.comfy_workflows import node

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]


def refusal(server: Server, **links: Any) -> str:
    """What the node says to the tiny checkpoint, with no LoRA chosen."""
    values = {"base": "pocket (bundled)", "lora": "none", "lora_strength": 1.0, "alpha": 0.001}
    folders = {"published": "pictures", "unpublished": "pictures", "save_as": "siren/passive"}
    graph = {
        "checkpoint": node("TestTinyCheckpoint"),
        "test": node("SirenPassiveTest", **values, **folders, **links),
    }
    return str(events(server.run(graph))["execution_error"]["exception_message"])


def test_the_workflows_model_needs_its_parts_and_a_control(server: Server) -> None:
    model, clip, vae = (["checkpoint", number] for number in range(3))
    assert refusal(server, model=model, clip=clip).startswith("Only some of model, clip and vae")
    found = refusal(server, model=model, clip=clip, vae=vae)
    assert "The control is pocket (bundled)" in found


def test_a_lora_is_needed_without_the_workflows_model(server: Server) -> None:
    values = {"base": "pocket (bundled)", "lora": "none", "lora_strength": 1.0, "alpha": 0.001}
    folders = {"published": "pictures", "unpublished": "pictures", "save_as": "siren/passive"}
    answer = server.queue({"test": node("SirenPassiveTest", **values, **folders)})
    assert "No LoRA is chosen" in str(answer["node_errors"])
