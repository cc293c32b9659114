"""The node that ranks images by their influence, on a stand-in host with a tiny model."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.fake_host import FakeHost, Interrupt, ProgressBar, batch, nodes_of_pack
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, shared_model

from siren_ext.attribution.wording import DOES_NOT_PROVE
from siren_ext.errors import SirenError

BASE = "pocket (bundled)"
INPUTS: dict[str, Any] = {
    "base": BASE,
    "lora": "suspect.safetensors",
    "lora_strength": 1.0,
    "folder": "mine",
    "count": 9,
    "noises": 2,
    "save_as": "siren/influence",
}


def node() -> Any:
    return nodes_of_pack()["SirenWhichImages"]


def folder_of(host: FakeHost) -> Path:
    """Four images, one of them wider than the others."""
    folder = draw_images(host.base / "input" / "mine", 4)
    Image.open(folder / "3.png").resize((48, 32)).save(folder / "3.png")
    return folder


@pytest.fixture
def models(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> FakeHost:
    """A host with images, a tiny model in the place of the bundled one, and a LoRA."""
    pytest.importorskip("diffusers")
    folder_of(host)
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    adapted(base, host.base / "models" / "loras" / "suspect.safetensors")
    monkeypatch.setattr(sys.modules["comfy_nodes.passive"], "base_file", lambda name: str(base))
    return host


def query(host: FakeHost, number: int = 2) -> torch.Tensor:
    """One of the owner's images, as Load Image would give it."""
    place = host.base / "query"
    place.mkdir(exist_ok=True)
    shutil.copy(host.base / "input" / "mine" / f"{number}.png", place)
    return batch(place)


def test_inputs_are_checked_before_a_run(host: FakeHost) -> None:
    folder_of(host)

    def check(**changes: Any) -> Any:
        names = {"base": BASE, "lora": "none", "folder": "mine", "save_as": "siren/influence"}
        return node().validate_inputs(**names | changes)

    assert check() is True
    assert check(folder=None) is True  # connected to another node
    assert "no checkpoint 'gone.safetensors'" in str(check(base="gone.safetensors"))
    assert "gone.safetensors" in str(check(lora="gone.safetensors"))
    assert "no folder 'gone'" in str(check(folder="gone"))
    assert "can't be used as a name" in str(check(save_as="../x"))


@pytest.mark.models
def test_the_ranking_is_shown_with_its_limits(models: FakeHost) -> None:
    with torch.inference_mode():
        found = node().execute(pictures=query(models), prompt="an image of a house", **INPUTS)
    gallery, text, page = found.args
    assert gallery.shape == (4, 32, 48, 3)
    expected = torch.ones(32, 48, 3)
    expected[:, 8:40] = query(models)[0]  # the square image ranks first, in the middle of its page
    assert torch.equal(gallery[0], expected)
    assert text.startswith("Of your 4 images, 2.png is estimated to have shaped the picture most")
    assert "\n1. 2.png: score " in text
    assert "no caption" not in text
    for limit in DOES_NOT_PROVE["gradients"]:
        assert f"Limit: {limit}" in text
    assert page == "siren/influence_00001/attribution.html"
    output = models.base / "output"
    assert (output / page).is_file()
    assert (output / "siren" / "influence_gradients.safetensors").is_file()
    kept = json.loads((output / page).with_suffix(".json").read_text())
    assert [row["picture"] for row in kept["pictures"]] == ["picture 1.png"]
    (card,) = found.ui["siren"]
    assert card["link"]["filename"] == "attribution.html"
    assert "It does not prove that the model was trained on these images" in card["lines"][-1]
    assert len(found.ui["images"]) == 4


@pytest.mark.models
def test_without_a_lora_the_files_are_compared(models: FakeHost) -> None:
    pictures = query(models).repeat(2, 1, 1, 1)
    found = node().execute(pictures=pictures, **INPUTS | {"lora": "none", "count": 3})
    gallery, text, _ = found.args
    assert len(gallery) == 3
    assert "\n3. " in text
    assert "\n4. " not in text
    assert "2.png has the patches most similar to the 2 pictures together" in text
    assert "have no caption" not in text  # nothing here depends on prompts
    assert "Limit: It does not prove that a model was trained on these images" in text


@pytest.mark.models
def test_an_interrupt_stops_it_and_the_next_run_resumes(models: FakeHost) -> None:
    seen = []

    def interrupt(done: int, total: int) -> None:
        seen.append(total)
        models.interrupted = total >= 20 and done >= 20

    ProgressBar.hook = interrupt
    with pytest.raises(Interrupt):
        node().execute(pictures=query(models), **INPUTS)
    assert max(seen) > 20  # the gradients were reached
    assert not (models.base / "output" / "siren" / "influence_00001").exists()
    ProgressBar.hook = None
    page = node().execute(pictures=query(models), **INPUTS).args[2]
    assert page == "siren/influence_00001/attribution.html"


@pytest.mark.models
def test_images_that_cannot_be_used_are_refused(models: FakeHost) -> None:
    with pytest.raises(SirenError, match="empty batch"):
        node().execute(pictures=torch.zeros(0, 8, 8, 3), **INPUTS)
    for name in ("0.png", "1.png", "3.png"):
        (models.base / "input" / "mine" / name).unlink()
    with pytest.raises(SirenError, match="contains 1 images; expected at least 2"):
        node().execute(pictures=query(models), **INPUTS)
