"""The evaluation of the pocket model: one run on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.small_corpus import FakeBackbone, write_corpus
from support.tiny_models import SIZE, need_models, save_tiny

from siren_ext.pocket import evaluate as module
from siren_ext.pocket.evaluate import evaluate
from siren_ext.pocket.measure import EvaluateConfig


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_models()
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.models
def test_whole_evaluation_on_a_tiny_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "Eff0", FakeBackbone)
    unseen = tmp_path / "faces"
    unseen.mkdir()
    for index in range(3):
        Image.new("RGB", (40, 50), (index * 40, 90, 120)).save(unseen / f"{index}.png")
    config = EvaluateConfig(generated=8, per_class=2, classes=2, reconstruct=4, steps=2)
    out = tmp_path / "out"
    metrics = evaluate(
        tiny_model,
        write_corpus(tmp_path / "corpus"),
        out,
        config,
        unseen=[("photo", unseen)],
        training={"steps": 10},
        device="cpu",
    )
    assert json.loads((out / "metrics.json").read_text("utf-8"))["settings"]["steps"] == 2
    assert set(metrics["reconstruction"]) == {
        "corpus photos",
        "corpus drawings",
        "sample set",
        "faces",
    }
    assert metrics["reconstruction"]["faces"]["pictures"] == 3
    assert metrics["eff0"]["all"]["reference"] == 32
    # real pictures are nearer to real ones than what a random model makes
    part = metrics["eff0"]["all"]
    assert part["real"]["fid"] < part["generated"]["fid"]
    found = metrics["recognition"]
    assert found["classes"] == 3
    assert found["held_out_accuracy"] == 1.0
    assert set(found["per_class"]) == {"a photo of a bird", "a photo of a cat"}
    assert Image.open(out / "contact_sheet.png").width > 8 * SIZE
    assert "| steps | 10 |" in (out / "MODEL_CARD.md").read_text("utf-8")
