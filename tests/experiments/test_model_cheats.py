"""What an owner could give to the test of a model's file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.tiny_models import need_models

from siren_ext.experiments import model_cheats
from siren_ext.experiments.owner_cheats import scene
from siren_ext.preference import patterns


@pytest.mark.slow
@pytest.mark.models
def test_originals_with_the_opposite_message_find_nothing(
    tmp_path: Path, few_messages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    monkeypatch.setattr(model_cheats, "IMAGES", 12)
    monkeypatch.setattr(patterns, "CODINGS", 96)
    said = model_cheats.opposite_originals(scene(tmp_path), tmp_path)
    found = re.fullmatch(
        r"inconclusive: p = (\S+), but the base model in its place has (\S+)", said
    )
    assert found is not None, said
    assert max(map(float, found.groups())) < 1e-4
