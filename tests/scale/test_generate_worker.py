"""A worker that generates refuses another model than the run began with."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.tiny_models import need_models, shared_model

from siren_ext.errors import ModelError
from siren_ext.files import sha256_file
from siren_ext.scale.generate_worker import GenerateSetup, picture_name
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect

need_models()
pytestmark = pytest.mark.models
pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


def test_pictures_are_written_before_they_are_reported(tmp_path, tmp_path_factory) -> None:
    model = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    suspect = LocalSuspect(model, device="cpu", dtype=torch.float32, batch_size=2)
    plan = PromptPlan(prompts=("a red cat",), count=4, steps=1)
    out = tmp_path / "out"
    setup = GenerateSetup(str(model), (), False, "float32", 2, plan, str(out), suspect.describe())
    seen = []
    for number, record in setup.open().work([1, 2]):
        assert record.sha256 == sha256_file(out / picture_name(number + 1))
        seen.append((number, record.prompt, record.seed))
    assert seen == [(0, "a red cat", 1), (1, "a red cat", 2)]
    other = dataclasses.replace(setup, described=suspect.describe() | {"model_fingerprint": "x"})
    with pytest.raises(ModelError, match="is not the same as when the run began"):
        other.open()
