"""A folder of pictures, and the file of a small coater."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.noise_files import noise

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig

SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, bits=2, features=4, working_size=16
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for index in range(12):
        noise(folder / f"{index}.png", size=(12 + 4 * (index % 2), 10))
        (folder / f"{index}.txt").write_text(f"caption {index}")
    return folder


@pytest.fixture
def coater_file(tmp_path: Path) -> Path:
    path = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(path)
    return path
