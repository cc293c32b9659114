"""Plans and runs: prompts in turn, records, resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.stopping import StopAfter
from support.tiny_models import draw_images

from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, ConfigError
from siren_ext.progress import NULL, Progress
from siren_ext.suspects.base import Mimicry, PromptPlan, generate_images

PLAN = PromptPlan(prompts=("a red cat", "a dog"), count=5, seed=40, steps=3)


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
    with pytest.raises(ConfigError, match=r"is \[\]; expected named values .*Delete the folder"):
        generate_images(Coloured(), PLAN, tmp_path / "a")
