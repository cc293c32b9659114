"""Merging with a look at what an adapter changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import need_models, shared_model
from support.toy_adapters import normal

from siren_ext.adapters.names import kohya_names
from siren_ext.adapters.read import read_adapter
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError
from siren_ext.suspects import local
from siren_ext.suspects.local import LocalSuspect
from siren_ext.suspects.merging import RoundedAwayError, merge_checked

need_models()
pytestmark = pytest.mark.models

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def lora(path: Path, size: float) -> Path:
    save_kohya(path, {TO_K: (normal(2, 32, seed=1), size * normal(32, 2), 2.0)}, {})
    return path


def coarse(pipeline: Any) -> Any:
    """A model whose weights are bfloat16 numbers, with large steps between them."""
    kohya_names(pipeline)[TO_K].weight.mul_(16)
    pipeline.unet.bfloat16().float()
    return pipeline


@torch.no_grad()
def test_self_check_leaves_nothing_behind_when_it_fails(pipeline: Any, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in pipeline.unet.state_dict().items()}
    adapter = read_adapter(lora(tmp_path / "a.safetensors", 1e-7))
    with pytest.raises(AdapterError, match="changes nothing"):
        merge_checked(pipeline, adapter)
    now = pipeline.unet.state_dict()
    assert all(torch.equal(now[key], before[key]) for key in now)
    before = {k: v.clone() for k, v in coarse(pipeline).unet.state_dict().items()}
    small = read_adapter(lora(tmp_path / "b.safetensors", 5e-4))
    with pytest.raises(RoundedAwayError, match="survives rounding to bfloat16"):
        merge_checked(pipeline, small, final_dtype=torch.bfloat16)
    now = pipeline.unet.state_dict()
    assert all(torch.equal(now[key], before[key]) for key in now)


@torch.no_grad()
def test_a_change_that_16_bits_would_lose_is_kept_in_32(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "pick_dtype", lambda device: torch.bfloat16)
    coarse(pipeline).save_pretrained(tmp_path / "model", safe_serialization=True)
    small, large = lora(tmp_path / "small.safetensors", 5e-4), lora(tmp_path / "l.safetensors", 9.0)
    kept = LocalSuspect(tmp_path / "model", small, device="cpu")
    assert kept.describe()["format"] == "float32"
    assert kept.pipeline.unet.dtype == torch.float32
    assert kept.warnings[0].startswith("Of small.safetensors, only ")
    assert kept.warnings[0].endswith(
        "% of its change survives rounding to bfloat16. So the pictures are made in float32."
    )
    kept.release()
    assert kept.dtype == kept.pipeline.unet.dtype == torch.float32
    usual = LocalSuspect(tmp_path / "model", large, device="cpu")
    assert usual.describe()["format"] == "bfloat16"
    assert usual.pipeline.unet.dtype == torch.bfloat16
    assert LocalSuspect(tmp_path / "model", device="cpu").dtype == torch.bfloat16
    asked = LocalSuspect(tmp_path / "model", small, device="cpu", dtype=torch.bfloat16)
    with pytest.raises(AdapterError, match="Use float32 instead"):
        _ = asked.pipeline
