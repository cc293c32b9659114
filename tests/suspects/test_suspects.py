"""Suspects: seeds decide pictures, runs resume, folders are listed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.stopping import StopAfter
from support.tiny_models import SIZE, draw_images, need_models, shared_model

from siren_ext.adapters.names import kohya_names
from siren_ext.adapters.write import save_kohya
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.diffusion import pipelines
from siren_ext.errors import AdapterError, Cancelled, ConfigError, DatasetError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import Mimicry, PromptPlan, generate_images
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.local import LocalSuspect

PLAN = PromptPlan(prompts=("a red cat", "a dog"), count=5, seed=40, steps=3)
LEVEL = 1 / 255


def plan(**changes: Any) -> PromptPlan:
    return PromptPlan.from_dict(PLAN.to_dict() | changes)


class Coloured:
    """A suspect without a model: picture i is one flat colour of its seed."""

    def __init__(self, name: str = "flat") -> None:
        self.name, self.made = name, list[int]()

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name}

    def generate(
        self, plan: PromptPlan, *, indices: Sequence[int] | None = None, progress: Progress = NULL
    ) -> Iterator[Mimicry]:
        for index in range(plan.count) if indices is None else indices:
            self.made.append(index)
            image = torch.full((3, 8, 8), (plan.seed + index) / 255)
            yield Mimicry(image, index, plan.prompt(index), plan.seed + index)
            progress.advance()


def test_plan_takes_prompts_in_turn() -> None:
    assert [PLAN.prompt(i) for i in range(3)] == ["a red cat", "a dog", "a red cat"]
    for wrong in ({"prompts": ()}, {"prompts": "a"}, {"count": 0}, {"steps": 0}):
        with pytest.raises(ConfigError):
            plan(**wrong)


def test_generation_writes_pictures_and_a_record(tmp_path: Path) -> None:
    out = tmp_path / "made"
    paths = generate_images(Coloured(), PLAN, out)
    assert [p.name for p in paths] == [f"{i:05d}.png" for i in range(5)]
    assert [int(read_picture(p).rgb[0, 0, 0]) for p in paths] == [40, 41, 42, 43, 44]
    record = json.loads((out / "provenance.json").read_text())
    assert record["suspect"] == {"kind": "flat"}
    assert record["plan"]["prompts"] == ["a red cat", "a dog"]
    assert record["images"]["00001.png"]["prompt"] == "a dog"
    assert record["images"]["00001.png"]["seed"] == 41
    assert str(tmp_path) not in (out / "provenance.json").read_text()


def test_generation_resumes_and_repairs(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        generate_images(Coloured(), PLAN, tmp_path, progress=StopAfter(2))
    assert len(list(tmp_path.glob("*.png"))) == 2
    second = Coloured()
    generate_images(second, PLAN, tmp_path)
    assert second.made == [2, 3, 4]
    Image.new("RGB", (8, 8)).save(tmp_path / "00003.png")  # somebody changed a picture
    third = Coloured()
    generate_images(third, PLAN, tmp_path)
    assert third.made == [3]
    idle = Coloured()
    generate_images(idle, PLAN, tmp_path)
    assert idle.made == []


def test_generation_refuses_a_folder_of_others(tmp_path: Path) -> None:
    generate_images(Coloured(), PLAN, tmp_path / "a")
    with pytest.raises(ConfigError, match="another model"):
        generate_images(Coloured("other"), PLAN, tmp_path / "a")
    with pytest.raises(ConfigError, match="another model"):
        generate_images(Coloured(), plan(seed=1), tmp_path / "a")
    draw_images(tmp_path / "b", 1)
    with pytest.raises(ConfigError, match="without a provenance"):
        generate_images(Coloured(), PLAN, tmp_path / "b")
    (tmp_path / "a" / "provenance.json").write_text("[]")
    with pytest.raises(ConfigError, match="can't be read"):
        generate_images(Coloured(), PLAN, tmp_path / "a")


def test_folder_suspect_lists_what_is_there(tmp_path: Path) -> None:
    folder = draw_images(tmp_path / "theirs", 11)
    suspect = FolderSuspect(folder)
    found = list(suspect.generate())
    assert [m.index for m in found] == list(range(11))
    assert torch.equal(found[10].image, to_tensor(read_picture(folder / "10.png").rgb)[0])
    facts = suspect.describe()
    assert (facts["kind"], facts["name"], facts["images"]) == ("folder", "theirs", 11)
    assert len(list(suspect.generate(plan(count=3)))) == 3
    assert [m.index for m in suspect.generate(plan(count=3), indices=[4, 2])] == [2, 4]
    with pytest.raises(DatasetError, match="at most 11"):
        list(suspect.generate(plan(count=12)))
    with pytest.raises(DatasetError, match="no folder"):
        FolderSuspect(tmp_path / "absent").describe()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no pictures"):
        FolderSuspect(tmp_path / "empty").paths()


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
    with pytest.raises(ConfigError, match="expected 0 to 4"):
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
