"""The page's tab for images without a coating: its finished test and its words."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.gradio_servers import ROOT
from support.scripts import load_script

from siren_ext.errors import DatasetError
from siren_ext.panels.host import PanelHost, UploadLimits
from siren_ext.panels.passive import base_model
from siren_ext.panels.uploads import check_given

DEMO = ROOT / "gradio_demo"


@pytest.fixture(scope="module")
def uncoated() -> ModuleType:
    return load_script(DEMO / "uncoated.py")


def test_the_stored_features_give_the_stored_verdict(uncoated: ModuleType) -> None:
    verdict, pictures = uncoated.finished_test()
    stored: dict[str, Any] = json.loads(uncoated.REPORT.read_text(encoding="utf-8"))["verdict"]
    assert verdict.outcome == stored["outcome"] == "training found"
    assert verdict.headline == stored["headline"]
    assert verdict.comparison.n == 20
    assert verdict.comparison.p_value == pytest.approx(stored["comparison"]["p_value"])
    assert verdict.comparison.p_value <= verdict.config.alpha
    assert [one["published"] for one in pictures] == [True, False]


def test_the_card_shows_verdict_limits_and_pictures(uncoated: ModuleType) -> None:
    card = uncoated.finished_card()
    assert "training found" in card
    assert "p = 0.0001" in card
    assert "20 against 20" in card
    assert card.count("no difference (p") == 2
    assert "Only 20 images per set" in card
    assert "does not say who owns the images" in card
    assert card.count("<svg") == 1
    assert card.count('src="data:image/png;base64,') == 8


def test_the_example_is_small_and_names_no_machine(uncoated: ModuleType) -> None:
    text = uncoated.REPORT.read_text(encoding="utf-8")
    assert len(text) < 250_000
    assert "/tmp" not in text
    assert "/home" not in text


def test_published_and_unseen_images_of_the_example_are_those_of_its_command(
    uncoated: ModuleType,
) -> None:
    command = load_script(ROOT / "benchmarks" / "passive_example.py")
    stored = json.loads(uncoated.REPORT.read_text(encoding="utf-8"))
    for images, name in zip(command.owned_sets(), ("published", "unpublished"), strict=True):
        names = [row["image"] for row in stored[name]["rows"]]
        assert names == [item.name for item in images.items]


def test_a_visitor_may_give_few_images_and_no_other_base(tmp_path: Path) -> None:
    tree = ast.parse((DEMO / "app.py").read_text(encoding="utf-8"))
    (files,) = (
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and getattr(node.targets[0], "id", "") == "UNCOATED_FILES"
    )
    assert 20 <= files <= 50
    limits = UploadLimits(files=files, folders=False)
    assert base_model(str(tmp_path / "checkpoint.safetensors"), PanelHost(limits)) == "pocket"
    with pytest.raises(DatasetError, match="not read here"):
        check_given(None, str(tmp_path), limits, what="published images")


def test_the_words_say_what_is_needed_and_what_it_can_not_show() -> None:
    words = json.loads((DEMO / "words.json").read_text(encoding="utf-8"))
    story, own = words["uncoated"], words["uncoated_own"].format(files=30)
    for part in (
        "Published images",
        "Unseen images",
        "its base",
        "does not prove that the LoRA is innocent",
    ):
        assert part in story
    command = load_script(ROOT / "benchmarks" / "passive_example.py")
    assert re.search(rf"for {command.TRAINING.steps} steps", story)
    assert f"on {command.IMAGES} of the sample images" in story
    assert "20 to 30 images" in own
    assert "siren-ext passive --published photos" in own
