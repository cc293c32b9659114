"""Local suspects: seeds decide pictures, adapters act, runs resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.stopping import StopAfter
from support.tiny_models import SIZE, need_models, shared_model

from siren_ext.adapters.names import kohya_names
from siren_ext.adapters.write import save_kohya
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError, Cancelled, ConfigError
from siren_ext.suspects.base import PromptPlan, generate_images
from siren_ext.suspects.local import LocalSuspect

PLAN = PromptPlan(prompts=("a red cat", "a dog"), count=5, seed=40, steps=3)


LEVEL = 1 / 255


def plan(**changes: Any) -> PromptPlan:
    return PromptPlan.from_dict(PLAN.to_dict() | changes)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


@pytest.fixture(scope="module")
def adapter(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(model, tmp_path_factory.mktemp("adapter") / "a.safetensors", 0.5)


def write_adapter(model: Path, path: Path, size: float, *, text: bool = False) -> Path:
    pipeline = pipelines.load_pipeline(model, device="cpu", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    modules = {}
    for name, layer in kohya_names(pipeline).items():
        if ("_te_" in name) == text and name.endswith(("to_k", "q_proj")):
            down = torch.randn(2, *layer.weight.shape[1:], generator=generator)
            up = torch.randn(layer.weight.shape[0], 2, generator=generator) * size
            modules[name] = (down, up, 2.0)
    save_kohya(path, modules, {})
    return path


def local(model: Path, adapter: Path | None = None, **options: Any) -> LocalSuspect:
    return LocalSuspect(
        model, adapter, **{"device": "cpu", "dtype": torch.float32, "batch_size": 2} | options
    )


@pytest.mark.models
def test_samplers_by_name(model: Path) -> None:
    usual, fresh = (list(local(model).generate(plan(sampler=name))) for name in ("", "ddpm"))
    assert not torch.equal(usual[0].image, fresh[0].image)
    again = list(local(model).generate(plan(sampler="ddpm"), indices=[4]))
    assert torch.equal(again[0].image, fresh[4].image)
    named = next(iter(local(model).generate(plan(sampler="ddim"))))
    assert torch.equal(named.image, usual[0].image)
    with pytest.raises(ConfigError, match=r"'heun'; expected ddim, ddpm, euler, dpm\+\+"):
        next(iter(local(model).generate(plan(sampler="heun"))))


@pytest.mark.models
def test_picture_depends_on_its_seed_alone(model: Path) -> None:
    whole = list(local(model).generate(PLAN))
    assert [(m.index, m.seed) for m in whole] == [(i, 40 + i) for i in range(5)]
    assert whole[0].image.shape == (3, SIZE, SIZE)
    assert 0 <= whole[0].image.min() <= whole[0].image.max() <= 1
    some = list(local(model).generate(PLAN, indices=[3, 0]))
    assert [m.index for m in some] == [0, 3]
    assert torch.equal(some[1].image, whole[3].image)
    for size in (1, 5):
        other = list(local(model, batch_size=size).generate(PLAN))
        for a, b in zip(whole, other, strict=True):
            torch.testing.assert_close(a.image, b.image, atol=1e-4, rtol=0)
    # picture 2 of seed 40 has the seed, and here the prompt, of picture 0 of seed 42
    shifted = next(iter(local(model).generate(plan(seed=42, count=1))))
    torch.testing.assert_close(shifted.image, whole[2].image, atol=1e-4, rtol=0)
    assert (whole[0].image - whole[2].image).abs().max() > LEVEL
    with pytest.raises(ConfigError, match="expected numbers from 0 to 4"):
        list(local(model).generate(PLAN, indices=[5]))


@pytest.mark.models
def test_settings_of_the_plan_matter(model: Path) -> None:
    def first(**changes: Any) -> torch.Tensor:
        return next(iter(local(model).generate(plan(count=1, **changes)))).image

    base = first()
    for changes in ({"prompts": ("a dog",)}, {"guidance": 1.0}, {"steps": 5}, {"negative": "cat"}):
        assert not torch.allclose(base, first(**changes), atol=1e-5), changes
    assert first(size=64).shape == (3, 64, 64)
    with pytest.raises(ConfigError, match="multiple of 8"):
        first(size=20)


@pytest.mark.models
def test_adapter_changes_the_pictures(model: Path, adapter: Path) -> None:
    plain = next(iter(local(model).generate(PLAN))).image
    changed = next(iter(local(model, adapter).generate(PLAN))).image
    half = next(iter(local(model, adapter, scale=0.5).generate(PLAN))).image
    assert (plain - changed).abs().max() > LEVEL
    assert not torch.allclose(changed, half)
    facts = local(model, adapter).describe()
    assert facts["adapters"][0]["file"] == "a.safetensors"
    assert len(facts["adapters"][0]["hash"]) == len(facts["model_fingerprint"]) == 64
    assert str(adapter.parent) not in json.dumps(facts)


@pytest.mark.models
def test_adapter_without_effect_is_refused(model: Path, adapter: Path, tmp_path: Path) -> None:
    dead = write_adapter(model, tmp_path / "dead.safetensors", 0.0)
    with pytest.raises(AdapterError, match="the adapter changes nothing"):
        list(local(model, dead).generate(PLAN))
    with pytest.raises(AdapterError, match="changes nothing"):
        list(local(model, adapter, scale=0.0).generate(PLAN))
    words = write_adapter(model, tmp_path / "words.safetensors", 0.5, text=True)
    assert len(list(local(model, words).generate(plan(count=1)))) == 1


@pytest.mark.models
def test_bfloat16_suspect_is_close_to_float32(model: Path, adapter: Path) -> None:
    fine = next(iter(local(model, adapter).generate(PLAN))).image
    fast = next(iter(local(model, adapter, dtype=torch.bfloat16).generate(PLAN))).image
    assert fast.dtype == torch.float32
    assert (fine - fast).abs().mean() < 0.05


@pytest.mark.models
def test_local_generation_resumes_bit_for_bit(model: Path, tmp_path: Path) -> None:
    whole = generate_images(local(model), PLAN, tmp_path / "whole")
    with pytest.raises(Cancelled):
        generate_images(local(model), PLAN, tmp_path / "parts", progress=StopAfter(2))
    parts = generate_images(local(model), PLAN, tmp_path / "parts")
    assert [p.read_bytes() for p in parts] == [p.read_bytes() for p in whole]
