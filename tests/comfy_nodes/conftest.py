"""One real ComfyUI server for all tests that need one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.comfy_server import PACK, VARIABLE, Server, interpreter
from support.comfy_workflows import ICONS


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with the pack, a tiny checkpoint node and some bundled icons as input."""
    from siren_ext.samples import sample_folder

    python = interpreter()
    if python is None:
        pytest.skip(
            f"{VARIABLE} names no interpreter; make one with tests/support/install_comfyui.py"
        )
    base = tmp_path_factory.mktemp("comfyui")
    pictures = base / "input" / "pictures"
    pictures.mkdir(parents=True)
    for name in ICONS:
        shutil.copy(sample_folder() / name, base / "input")
        shutil.copy(sample_folder() / name, pictures)
        shutil.copy((sample_folder() / name).with_suffix(".txt"), pictures)
    # what a fresh ComfyUI has, and the examples begin with
    shutil.copy(sample_folder() / ICONS[0], base / "input" / "example.png")
    tiny = Path(__file__).parent / "tiny_checkpoint"
    running = Server(python, base, packs=(PACK, tiny))
    yield running
    running.close()


@pytest.fixture(scope="session")
def info(server: Server) -> dict[str, Any]:
    """All nodes of the server as it describes them."""
    return dict(server.get("object_info"))
