"""A folder of pictures as a suspect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import draw_images

from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import DatasetError
from siren_ext.suspects.base import PromptPlan
from siren_ext.suspects.folder import FolderSuspect

PLAN = PromptPlan(prompts=("a red cat", "a dog"), count=5, seed=40, steps=3)


def plan(**changes: Any) -> PromptPlan:
    return PromptPlan.from_dict(PLAN.to_dict() | changes)


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
