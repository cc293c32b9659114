"""A tiny model and images to personalise it with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_models import draw_images, shared_model

from siren_ext.data.dataset import ImageSet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module")
def model(root: Path) -> Path:
    return shared_model(root, "tiny", "epsilon")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("data"), 4))
