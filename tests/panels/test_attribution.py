"""The panel that ranks images by their influence: its step, its form, and what it refuses."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from PIL import Image
from support.owned_sets import owned_sets
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, shared_model

from siren_ext.attribution.wording import DOES_NOT_PROVE
from siren_ext.errors import Cancelled, DatasetError
from siren_ext.panels.attribution import SPEEDS, attribution_panel, attribution_step
from siren_ext.panels.host import PanelHost
from siren_ext.progress import NULL, Progress

QUICK = next(iter(SPEEDS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "mine", 4)


@pytest.fixture
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("diffusers")
    return shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")


def form(host: PanelHost) -> tuple[dict[str, Any], dict[str, Any]]:
    """The panel's components, and the functions behind its run button by their names."""
    gr = MagicMock(__version__="6.31.0")
    for kind in (gr.HTML, gr.Textbox, gr.Dropdown, gr.File, gr.Gallery):
        kind.side_effect = lambda *_, **options: MagicMock(**options)
    gr.update = lambda **options: options
    parts = attribution_panel(gr, host)
    click = gr.Button.return_value.click
    chain = click.return_value.then.return_value.success.call_args_list
    calls = [*click.call_args_list, *chain]
    return parts, {call.args[0].__name__: call.args[0] for call in calls}


@pytest.mark.models
def test_the_gallery_is_shown_with_the_limits(
    host: PanelHost, folder: Path, base: Path, tmp_path: Path
) -> None:
    lora = tmp_path / "suspect.safetensors"
    adapted(base, lora)
    parts, functions = form(host)
    assert "siren_influence_folder" in parts
    good = [[str(folder / "2.png")], None, str(folder), str(base), QUICK, str(lora)]
    assert functions["look"](*good)[0] == ""
    card, page, gallery = functions["run"](*good, "job", progress=lambda *_, **__: None)
    assert "Of your 4 images, 2.png is estimated to have shaped the picture most" in card
    assert "What this does not prove" in card
    for limit in DOES_NOT_PROVE["gradients"]:
        assert limit in html.unescape(card)
    assert Path(page["value"]).name == "attribution.html"
    assert gallery["visible"] is True
    assert len(gallery["value"]) == 4
    first, caption = gallery["value"][0]
    assert caption.startswith("1. 2.png: score ")
    with Image.open(first) as shown, Image.open(folder / "2.png") as own:
        assert shown.tobytes() == own.tobytes()


@pytest.mark.models
def test_without_a_lora_the_files_are_compared(folder: Path, base: Path, tmp_path: Path) -> None:
    done = attribution_step(folder, folder, str(base), None, tmp_path / "job", NULL)
    assert "patches most similar to the 4 pictures" in done.found.headline
    stopped = Progress(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        attribution_step(folder, folder, str(base), None, tmp_path / "job", stopped)
    one = draw_images(tmp_path / "one", 1)
    with pytest.raises(DatasetError, match="contains 1 images; expected at least 2"):
        attribution_step(one, folder, str(base), None, tmp_path / "job", NULL)


def test_the_form_is_checked_before_the_job_waits(host: PanelHost, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    folder = owned_sets(tmp_path, 3, others=1)[0]
    _, functions = form(host)
    good = [[str(folder / "0.png")], None, str(folder), "pocket", QUICK, None]
    assert functions["look"](*good)[0] == ""
    for place, value, words in (
        (0, None, "No pictures in question were given"),
        (2, "", "No images were given"),
        (2, str(tmp_path / "gone"), "There is no folder"),
        (3, str(tmp_path / "gone"), "There is no model"),
        (4, "none", "There is no speed"),
    ):
        changed = [*good[:place], value, *good[place + 1 :]]
        assert words in functions["look"](*changed)[0]
    bad = [*good[:3], str(tmp_path / "gone"), *good[4:]]
    card, page, gallery = functions["run"](*bad, "job", progress=lambda *_, **__: None)
    assert "There is no model" in card
    assert (page["visible"], gallery["visible"]) == (False, False)


def test_without_the_packages_there_is_a_message(
    host: PanelHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siren_ext.panels.packages.missing_packages", lambda: ["diffusers"])
    gr = MagicMock()
    assert list(attribution_panel(gr, host)) == ["siren_influence_absent"]
    assert "does not prove that the picture is a copy" in str(gr.HTML.call_args_list)
