"""The command ``attribute source``: its output and its errors, with a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_attribution import adapted, tiny_lora
from support.tiny_models import draw_images, need_models, shared_model

need_models()
pytestmark = pytest.mark.models

Call = Callable[..., tuple[int, str, str]]
FAST = ("--set", "keys=3", "--set", "repeats=1", "--set", "steps=2", "--set", "pictures=2")


@pytest.fixture
def line(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A source, a suspicious model and three innocent ones, as LoRA files of a tiny model."""
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    pipeline = adapted(base, tmp_path / "source.safetensors").pipeline
    for number, name in enumerate(("suspect", "i1", "i2", "i3"), 1):
        tiny_lora(tmp_path / f"{name}.safetensors", pipeline, seed=number)
    words: list[str | Path] = ["attribute", "source", *FAST, "-q", "--base", base]
    words += ["--source", tmp_path / "source.safetensors"]
    for number in (1, 2, 3):
        words += ["--innocent", tmp_path / f"i{number}.safetensors"]
    return [*words, "--out", tmp_path / "report", "--suspect", tmp_path / "suspect.safetensors"]


def test_a_verdict_is_printed_and_written(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    data = draw_images(tmp_path / "photos", 4)
    wide = ("--set", "delta=1.5", "--public", "none")
    code, out, err = call(*line, "--data", data, *wide)
    assert code == 0, err
    # everything is within so wide a threshold, also for the innocent models
    assert out.startswith("The suspicious model reproduces 3 of 3 key samples")
    assert "i3.safetensors: 3 of 3" in out
    assert "Note: No public base model was given" in err
    assert "The page says what this does not prove." in err
    kept = json.loads((tmp_path / "report" / "source.json").read_text())
    assert kept["outcome"] == "open"
    assert (tmp_path / "report" / "source.html").is_file()


def test_errors(call: Call, line: list[str | Path], tmp_path: Path) -> None:
    code, _, err = call(*line)
    assert code == 2
    assert "Key samples need training images of the source" in err
    (tmp_path / "empty.txt").write_text("\n \n")
    code, _, err = call(*line, "--captions", tmp_path / "empty.txt")
    assert code == 2
    assert "empty.txt has no captions in it; expected one per line." in err
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    code, _, err = call(*line, "--captions", tmp_path / "latin.txt")
    assert code == 2
    assert "latin.txt is not UTF-8" in err
    code, _, err = call(*line, "--set", "shadow.folds=1", "--captions", tmp_path / "empty.txt")
    assert code == 2
    assert "ShadowConfig.folds is 1" in err
    both = ("--data", tmp_path, "--captions", tmp_path / "latin.txt")
    code, _, err = call(*line, *both)
    assert code == 2
    assert "--captions was given with --data" in err
    code, _, err = call(*line, *both, "--set", "strategy=generation")
    assert "--captions was given with --data" not in err
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "source.json").write_text("{}")
    code, _, err = call(*line)
    assert code == 2
    assert "source.json, which is not a report about a source of siren-ext" in err


def test_a_model_that_is_given_twice_is_refused(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    (tmp_path / "captions.txt").write_text("a photo of a red cat\na photo of two birds\n")
    twice = ("--captions", tmp_path / "captions.txt", "--known", tmp_path / "i1.safetensors")
    code, _, err = call(*line, *twice)
    assert code == 2
    assert "are the same model, so they can't be compared" in err


def test_settings_and_help(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = call("attribute", "source", "--help")
    assert code == 0
    assert "Example: siren-ext attribute source --source mine.safetensors" in out
    code, out, _ = call("settings", "attribute-source")
    assert code == 0
    assert "strength = 0.75" in out
    assert "# [shadow]" in out
