"""A suspect behind a function."""

from __future__ import annotations

from pathlib import Path

import torch

from siren_ext.suspects.base import Mimicry, PromptPlan, generate_images
from siren_ext.suspects.function import FunctionSuspect
from siren_ext.suspects.redraw import redrawer


def shade(prompt: str, seed: int) -> torch.Tensor:
    return torch.full((3, 8, 8), (len(prompt) + seed) / 10)


def test_pictures_of_a_plan(tmp_path: Path) -> None:
    suspect = FunctionSuspect("mine", shade)
    assert suspect.describe() == {"kind": "function", "name": "mine"}
    plan = PromptPlan(("a", "bb"), 4, seed=1)
    made = list(suspect.generate(plan))
    assert all(isinstance(one, Mimicry) for one in made)
    assert [(one.index, one.prompt, one.seed) for one in made] == [
        (0, "a", 1),
        (1, "bb", 2),
        (2, "a", 3),
        (3, "bb", 4),
    ]
    assert [one.index for one in suspect.generate(plan, indices=[3, 1])] == [1, 3]
    assert len(generate_images(suspect, plan, tmp_path / "out")) == 4


def test_it_redraws_only_with_a_function_for_that() -> None:
    found, why = redrawer(FunctionSuspect("mine", shade))
    assert found is None
    assert why == "Its function takes a prompt only."
    able = FunctionSuspect("mine", shade, lambda image, plan, index, strength: image * strength)
    found, why = redrawer(able)
    assert found is not None
    assert why == ""
    assert found(torch.ones(3, 8, 8), PromptPlan(), 0, 0.5).max() == 0.5
