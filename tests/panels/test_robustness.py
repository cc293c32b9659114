"""The panel that attacks a coating: its step, its card, and the check of its form."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from support.owned_sets import owned_sets

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import Cancelled, ConfigError, DatasetError
from siren_ext.panels.host import PanelHost
from siren_ext.panels.robustness import robustness_card, robustness_panel, robustness_step
from siren_ext.progress import NULL, Progress
from siren_ext.workflows import robustness as workflow


@pytest.fixture(autouse=True)
def two_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "quick_attacks", lambda: ("jpeg", "palette"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return owned_sets(tmp_path / "sets", 9, others=1)[0]


def form(host: PanelHost) -> tuple[dict[str, Any], dict[str, Any]]:
    """The panel's components, and the functions behind its run button by their names."""
    gr = MagicMock(__version__="6.31.0")
    for kind in (gr.HTML, gr.Textbox, gr.Dropdown, gr.File, gr.Slider):
        kind.side_effect = lambda *_, **options: MagicMock(**options)
    gr.update = lambda **options: options
    parts = robustness_panel(gr, host)
    click = gr.Button.return_value.click
    chain = click.return_value.then.return_value.success.call_args_list
    calls = [*click.call_args_list, *chain]
    return parts, {call.args[0].__name__: call.args[0] for call in calls}


def test_the_step_and_its_card(folder: Path, coater_file: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"strength": 1.0, "count": "12"}
    data, coater = ImageSet.open(folder), Coater.load(coater_file)
    found, page = robustness_step(data, coater, tmp_path / "a", progress=NULL, **options)
    assert [row.attack for row in found.rows] == ["none", "jpeg", "palette"]
    card = robustness_card(found)
    assert "9 images measured" in card
    assert card.count("<tr>") == 4
    assert "does not measure what a model learns" in card
    assert page.read_text(encoding="utf-8").count("<tr>") == 4
    stopped = Progress(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        robustness_step(data, coater, tmp_path / "b", progress=stopped, **options)
    with pytest.raises(
        ConfigError, match="'13' is not a number of images to choose from; expected one of 12, 24"
    ):
        robustness_step(data, coater, tmp_path / "c", strength=1.0, count="13", progress=NULL)


def test_the_form_is_checked_and_run(host: PanelHost, folder: Path, tmp_path: Path) -> None:
    parts, functions = form(host)
    assert {"siren_robustness_files", "siren_robustness_result"} < set(parts)
    good = [None, str(folder), "mine.safetensors", None, 1.0, "12"]
    assert functions["look"](*good)[0] == ""
    for place, value, words in (
        (1, "", "No images were given"),
        (2, "gone", "There is no coater named"),
        (4, 11.0, "strength is 11.0"),
        (5, "9", "is not a number of images to choose from"),
    ):
        changed = [*good[:place], value, *good[place + 1 :]]
        assert words in functions["look"](*changed)[0]
    card, page = functions["run"](*good, "job", progress=lambda *_, **__: None)
    assert "9 images measured" in card
    assert Path(page["value"]).name == "robustness.html"
    few = owned_sets(tmp_path / "few", 2, others=1)[0]
    card, page = functions["run"](None, str(few), *good[2:], "job", progress=lambda *_, **__: None)
    assert "expected at least 8" in card
    assert page["visible"] is False


def test_too_few_images_are_an_error(coater_file: Path, tmp_path: Path) -> None:
    few = ImageSet.open(owned_sets(tmp_path / "few", 2, others=1)[0])
    with pytest.raises(DatasetError, match="expected at least 8"):
        robustness_step(
            few,
            Coater.load(coater_file),
            tmp_path / "out",
            strength=1.0,
            count="12",
            progress=NULL,
        )
