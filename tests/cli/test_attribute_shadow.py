"""The command ``attribute shadow``: its output and its errors, with a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.tiny_attribution import adapted
from support.tiny_models import draw_images, need_models, shared_model

need_models()
pytestmark = pytest.mark.models

Call = Callable[..., tuple[int, str, str]]
FAST = (
    *("--count", "1", "--images", "2", "--set", "steps=2", "-q"),
    *("--set", "training.steps=1", "--set", "training.batch_size=1", "--set", "training.rank=2"),
)


@pytest.fixture
def line(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    adapted(base, tmp_path / "source.safetensors")
    others = draw_images(tmp_path / "others", 3)
    words: list[str | Path] = ["attribute", "shadow", *FAST, "--base", base, "--others", others]
    return [*words, "--source", tmp_path / "source.safetensors", "--out", tmp_path / "my shadows"]


def test_models_are_trained_and_named_as_options(
    call: Call, line: list[str | Path], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    (tmp_path / "captions.txt").write_text("a photo of a red cat\na photo of two birds\n")
    code, out, err = call(*line, "--captions", tmp_path / "captions.txt")
    assert code == 0, err
    folder = tmp_path / "my shadows"
    assert out.splitlines() == [
        f"--known '{folder / 'known_00.safetensors'}'",
        f"--innocent '{folder / 'innocent_00.safetensors'}'",
    ]
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    assert len(before) == 2
    code, again, _ = call(*line, "--captions", tmp_path / "captions.txt")
    assert (code, again) == (0, out)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_errors(call: Call, line: list[str | Path], tmp_path: Path) -> None:
    code, _, err = call(*line)
    assert code == 2
    assert "--data and --captions were both given, or neither" in err
    (tmp_path / "captions.txt").write_text("a cat\n")
    code, _, err = call(*line, "--captions", tmp_path / "captions.txt", "--images", "4")
    assert code == 2
    assert "There are 3 other images, but each innocent model needs 4." in err
    code, _, err = call(*line, "--captions", tmp_path / "captions.txt", "--set", "training.rank=0")
    assert code == 2
    assert "PersonalizeConfig.rank is 0" in err
