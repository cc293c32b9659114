"""The node that trains an adapter, in the real ComfyUI server."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from support.comfy_server import Server, events
from support.comfy_workflows import ICONS, node

from siren_ext.adapters.read import read_adapter

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_an_adapter_is_trained_found_again_and_never_overwritten(server: Server) -> None:
    for name in ICONS[:2]:
        place = server.base / "input" / "taught" / name
        place.parent.mkdir(exist_ok=True)
        shutil.copy(server.base / "input" / name, place)
    settings: dict[str, Any] = {
        "folder": "taught",
        "base": "pocket (bundled)",
        "method": "lora",
        "save_as": "taught",
        "steps": 1,
        "batch_size": 1,
        "seed": 0,
        "learning_rate": 0.0,
    }
    titles = []
    for prompt in ("an icon", "an icon "):  # the same to the node, another one to the server
        entry = server.run({"train": node("SirenTrainAdapter", prompt=prompt, **settings)})
        assert entry["status"]["status_str"] == "success"
        titles.append(entry["outputs"]["train"]["siren"][0]["title"])
    assert titles == ["Adapter saved", "Adapter found"]
    (file,) = (server.base / "models" / "loras").glob("taught*.safetensors")
    assert read_adapter(file).changes
    fault = events(server.run({"train": node("SirenTrainAdapter", prompt="a pear", **settings)}))
    assert "It was not overwritten" in fault["execution_error"]["exception_message"]
