"""Image sets for training on a toy."""

from __future__ import annotations

from typing import Any

import pytest
from support.tiny_models import draw_images, tiny_surrogate

from siren_ext.data.dataset import ImageSet


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("photos"), 8, size=32))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path_factory.mktemp("few"), 3, size=16))


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_surrogate(tmp_path_factory.getbasetemp(), "v_prediction")
