"""Local suspects with adapters: the self-check, the record, the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import need_models, shared_model
from support.toy_adapters import normal

from siren_ext.adapters.merge import load_adapter
from siren_ext.adapters.names import kohya_names
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError, ConfigError
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.local import LocalSuspect, WeightedAdapter

need_models()
pytestmark = pytest.mark.models

TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture
def pipeline(folder: Path) -> Any:
    return pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)


def lora(path: Path, size: float, seed: int = 1, name: str = TO_K) -> Path:
    save_kohya(path, {name: (normal(2, 32, seed=seed), size * normal(32, 2), 2.0)}, {})
    return path


def suspect(folder: Path, *used: WeightedAdapter, **options: Any) -> LocalSuspect:
    return LocalSuspect(folder, used, **{"device": "cpu", "dtype": torch.float32} | options)


def test_several_adapters_are_merged_and_recorded(folder: Path, tmp_path: Path) -> None:
    a, b = lora(tmp_path / "a.safetensors", 1.0), lora(tmp_path / "b.safetensors", 1.0, 5)
    both = suspect(folder, WeightedAdapter(a, 0.5), WeightedAdapter(b))
    facts = both.describe()
    assert [(one["file"], one["weight"]) for one in facts["adapters"]] == [
        ("a.safetensors", 0.5),
        ("b.safetensors", 1.0),
    ]
    merged = pipelines.load_pipeline(folder, device="cpu", dtype=torch.float32)
    load_adapter(merged, a, scale=0.5)
    load_adapter(merged, b)
    ours, theirs = (kohya_names(p)[TO_K].weight for p in (both.pipeline, merged))
    assert torch.equal(ours, theirs)
    dead = lora(tmp_path / "dead.safetensors", 0.0)
    with pytest.raises(AdapterError, match=r"dead.*changes nothing"):
        _ = suspect(folder, WeightedAdapter(a), WeightedAdapter(dead)).pipeline


def test_partial_load_reaches_the_record(folder: Path, tmp_path: Path) -> None:
    modules = {n: (normal(2, 32), normal(32, 2), 2.0) for n in (TO_K, "lora_unet_gone")}
    path = tmp_path / "a.safetensors"
    save_kohya(path, modules, {})
    with pytest.raises(AdapterError, match="lora_unet_gone"):
        _ = suspect(folder, WeightedAdapter(path)).pipeline
    facts = suspect(folder, WeightedAdapter(path), allow_partial=True).describe()
    assert "lora_unet_gone" in facts["warnings"][0]
    visible = TO_K.replace("attn2_to_k", "attn1_to_out_0")
    whole = lora(tmp_path / "whole.safetensors", 5.0, name=visible)
    facts = suspect(folder, WeightedAdapter(whole), allow_partial=True).describe()
    assert facts.get("warnings", []) == []


def test_embeddings_need_their_word_in_every_prompt(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mystyle.safetensors"
    save_file({"emb_params": 5 * normal(2, 32)}, path)
    plan = {"count": 1, "steps": 2, "guidance": 1.0}
    source = suspect(folder, WeightedAdapter(path))
    with pytest.raises(AdapterError, match="word into every prompt"):
        list(source.generate(PromptPlan(prompts=("a mystyle cat", "a cat"), **plan)))
    styled = next(source.generate(PromptPlan(prompts=("a mystyle cat",), **plan))).image
    plain = next(suspect(folder).generate(PromptPlan(prompts=("a mystyle cat",), **plan))).image
    assert (styled - plain).abs().max() > 1e-4


def test_adapters_are_named_with_their_weight(tmp_path: Path) -> None:
    assert WeightedAdapter.parse("a.safetensors:0.7") == WeightedAdapter(Path("a.safetensors"), 0.7)
    assert WeightedAdapter.parse("a:b", 0.5) == WeightedAdapter(Path("a:b"), 0.5)
    assert WeightedAdapter.parse("c:/a.safetensors").path == Path("c:/a.safetensors")
    (tmp_path / "x:1").mkdir()
    assert WeightedAdapter.parse(str(tmp_path / "x:1")).weight == 1.0
    with pytest.raises(ConfigError, match="expected a number"):
        WeightedAdapter.parse("a:nan")
