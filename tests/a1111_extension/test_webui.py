"""The extension with the API of SD.Next, and web UIs that lack something."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import pytest

from siren_ext.errors import Cancelled, ModelError
from siren_ext.panels.generation import ImageRequest
from siren_ext.progress import NULL

TINY, OTHER = "small/tiny [9876543210]", "other [0123456789]"


def request(**changes: object) -> ImageRequest:
    values = {
        "checkpoint": TINY, "loras": (), "prompts": ("a dog",), "count": 2, "seed": 40,
        "steps": 2, "guidance": 7.0, "size": 64,
    }  # fmt: skip
    return ImageRequest(**{**values, **changes})


def test_generation_in_sdnext(sdnext: Path) -> None:
    assert importlib.util.find_spec("networks") is None
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    processing = importlib.import_module("modules.processing")
    shared = importlib.import_module("modules.shared")
    assert not hasattr(shared, "total_tqdm")
    assert generator.checkpoints() == [TINY, OTHER]
    assert generator.loras() == ["guilty", "innocent", "style_v2"]
    facts = generator.generate(request(loras=(("innocent", 0.8),)), sdnext / "a", NULL)
    calls = processing.CALLS
    assert [call["prompt"] for call in calls] == [
        "a dog <lora:innocent:0.8>", "a dog", "a dog <lora:innocent:0.8>",
    ]  # fmt: skip
    assert all(call["locked"] and call["closed"] and call["job"] == "siren" for call in calls)
    assert {(call["faces"], call["detailer"]) for call in calls} == {(False, False)}
    assert (shared.state.begun, shared.state.ended) == (3, 3)
    assert facts["model"] == TINY
    assert facts["loras"] == [{"name": "innocent", "weight": 0.8, "hash": ""}]
    generator.generate(request(checkpoint=OTHER), sdnext / "b", NULL)
    assert shared.opts.sd_model_checkpoint == OTHER
    with pytest.raises(ModelError, match="no checkpoint 'gone'"):
        generator.generate(request(checkpoint="gone"), sdnext / "c", NULL)


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("unloaded", ModelError, "returned no image"),
        ("fail", ModelError, "Failed to recognize"),
        ("interrupt", Cancelled, "interrupted"),
        ("skip", Cancelled, "interrupted"),
    ],
)
def test_no_image_in_sdnext(sdnext: Path, word: str, kind: type[Exception], message: str) -> None:
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    shared = importlib.import_module("modules.shared")
    with pytest.raises(kind, match=message):
        generator.generate(request(prompts=(word,)), sdnext / "a", NULL)
    assert shared.state.begun == shared.state.ended == 1


def test_sdnext_has_the_legacy_name_too(sdnext: Path) -> None:
    sd_models = importlib.import_module("modules.sd_models")
    sd_models.get_closet_checkpoint_match = sd_models.get_closest_checkpoint_match
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    assert generator.checkpoints() == [TINY, OTHER]


@pytest.mark.parametrize("instead", ["nothing", "another module of that name"])
def test_a_web_ui_without_loras_says_so(
    webui: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, instead: str
) -> None:
    absent = None if instead == "nothing" else sys.modules["json"]
    monkeypatch.setitem(sys.modules, "networks", absent)  # type: ignore[arg-type]
    generator = importlib.import_module("siren_a1111.generator").WebuiGenerator()
    with caplog.at_level(logging.WARNING):
        assert generator.loras() == []
    assert "list of LoRAs was not found (looked for networks and modules.lora" in caplog.text
