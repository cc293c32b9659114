"""The record of a run in its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.short_runs import SMALL, StopAt, small
from support.tiny_models import need_models

from siren_ext.adapters.read import read_summary
from siren_ext.adapters.summary import AdapterSummary
from siren_ext.data.dataset import ImageSet
from siren_ext.personalize.run import personalize

need_models()
pytestmark = pytest.mark.models


def trained(out: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(out)


def test_whole_run_writes_kohya_metadata(model: Path, data: ImageSet, tmp_path: Path) -> None:
    watch = StopAt(10**9)
    summary = personalize(
        data, model, SMALL, tmp_path / "lora.safetensors", device="cpu", progress=watch
    )
    assert isinstance(summary, AdapterSummary)
    facts = summary.metadata
    assert facts["ss_network_module"] == "networks.lora"
    assert facts["ss_network_dim"] == "4"
    assert json.loads(facts["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "1.0"}
    assert facts["ss_output_name"] == "lora"
    assert facts["ss_num_train_images"] == "4"
    assert facts["ss_base_model_version"] == "sd_v1"
    assert facts["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert facts["sshs_model_hash"] == summary.hash
    folders = json.loads(facts["ss_dataset_dirs"])
    assert [v["img_count"] for v in folders.values()] == [4]
    assert not any(str(data.root) in text or str(tmp_path) in text for text in facts.values())
    assert summary.ranks == (2, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["lora.safetensors"]
    assert len(watch.notes) == SMALL.steps
    assert "loss 0." in watch.notes[-1] or "loss 1." in watch.notes[-1]
    assert "s/step" in watch.notes[-1]
    ups = [v for k, v in trained(tmp_path / "lora.safetensors").items() if "lora_up" in k]
    assert all(up.abs().max() > 0 for up in ups)


def test_summary_can_be_read_again(model: Path, data: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    made = personalize(data, model, small(steps=1, save_precision="float16"), out, device="cpu")
    assert read_summary(out) == made
    assert {v.dtype for v in trained(out).values()} == {torch.float16}
