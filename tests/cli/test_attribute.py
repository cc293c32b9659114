"""The command ``attribute images``: its output, its errors, and a tiny model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, need_models, shared_model

need_models()
pytestmark = pytest.mark.models

Call = Callable[..., tuple[int, str, str]]
FAST = ("--set", "times=1", "--set", "noises=2", "--set", "dimension=16", "--set", "repeats=10")


@pytest.fixture
def line(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """A command with four images, and a copy of one of them as the picture."""
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    data = draw_images(tmp_path / "photos", 4)
    shutil.copyfile(data / "2.png", tmp_path / "made.png")
    words: list[str | Path] = ["attribute", "images", "--data", data, "--base", base, *FAST, "-q"]
    return [*words, "--query", tmp_path / "made.png", "--out", tmp_path / "report"]


def test_a_ranking_is_printed_and_written(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    base = Path(line[5])
    lora = tmp_path / "lora.safetensors"
    adapted(base, lora)
    code, out, err = call(*line, "--adapter", lora)
    assert code == 0, err
    assert out.startswith("Of your 4 images, 2.png is estimated to have shaped the picture most")
    assert "\n1. 2.png: score " in out
    assert "Note: made.png is the same file as 2.png among your images" in err
    assert (
        "This does not prove that the picture is a copy, or that a model was trained on your images"
    ) in err
    kept = json.loads((tmp_path / "report" / "attribution.json").read_text())
    assert kept["method"] == "gradients"
    assert (tmp_path / "report" / "attribution.html").is_file()
    assert (tmp_path / "report" / "gradients.safetensors").is_file()


def test_without_a_lora_the_files_are_compared(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copyfile(tmp_path / "photos" / "0.png", folder / "a.png")
    code, out, err = call(*line, "--query", folder)
    assert code == 0, err
    assert "has the patches most similar to the 2 pictures together" in out
    code, out, err = call(*line)  # an own ranking is replaced
    assert code == 0, err
    assert json.loads((tmp_path / "report" / "attribution.json").read_text())["method"] == "patches"


def test_pictures_that_are_left_out_are_told(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copyfile(tmp_path / "photos" / "0.png", folder / "a.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "raw.cr2").write_bytes(b"raw")
    code, out, err = call(*line, "--query", folder)
    assert code == 3, err
    assert "has the patches most similar to the 2 pictures together" in out
    assert "broken.png" in err
    assert "raw.cr2" in err


def test_errors(call: Call, line: list[str | Path], tmp_path: Path) -> None:
    code, _, err = call(*line, "--query", tmp_path / "absent.png")
    assert code == 2
    assert "absent.png does not exist; expected a picture or a folder of them." in err
    (tmp_path / "text.txt").write_text("words")
    code, _, err = call(*line, "--query", tmp_path / "text.txt")
    assert code == 2
    assert "text.txt is not a picture that can be read" in err
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "attribution.html").write_text("mine")
    code, _, err = call(*line)
    assert code == 2
    assert "attribution.html, which is not a ranking of siren-ext, so it was not replaced" in err
    code, _, err = call(*line[:-1], tmp_path / "made.png")
    assert code == 2
    assert "made.png is a file; expected the name of a folder." in err


def test_help_shows_an_example(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = call("attribute", "images", "--help")
    assert code == 0
    assert "Example: siren-ext attribute images --data photos" in out
