"""Tiny pipelines for tests of diffusion models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import shared_model

from siren_ext.diffusion import pipelines


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture(scope="module", params=["tiny", "kl"])
def pipeline(request: pytest.FixtureRequest, root: Path) -> Any:
    folder = shared_model(root, request.param, "epsilon")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
