"""One real ComfyUI server for all tests that need one, and a stand-in for the others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.comfy_server import PACK, VARIABLE, Server, interpreter
from support.comfy_workflows import ICONS
from support.fake_host import FakeHost, install

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with the pack, a tiny checkpoint node and some bundled icons as input."""
    from siren_ext.samples.folder import sample_folder

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
    own = Path(__file__).parent
    packs = (PACK, own / "tiny_checkpoint", own / "quick_fit")
    running = Server(python, base, packs=packs)
    yield running
    running.close()


@pytest.fixture(scope="session")
def info(server: Server) -> dict[str, Any]:
    """All nodes of the server as it describes them."""
    return dict(server.get("object_info"))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return install(monkeypatch, tmp_path / "comfyui")


@pytest.fixture
def coater() -> Coater:
    shape = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
    )
    return Coater(shape, seed=3)


@pytest.fixture
def pictures(host: FakeHost) -> Path:
    rng = np.random.default_rng(4)
    folder = host.base / "input" / "pictures"
    folder.mkdir()
    for index in range(3):
        pixels = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder
