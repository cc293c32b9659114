"""A folder of pictures to coat."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.noise_files import noise


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    for index in range(10):
        noise(folder / f"{index}.png", size=(12 + 4 * (index % 2), 10))
    return folder
