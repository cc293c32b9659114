"""The adapter for few steps: trained on a small corpus, and measured by every way of drawing."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.short_runs import SMALL
from support.small_corpus import FakeBackbone, write_corpus
from support.tiny_models import need_models, shared_model
from typer.testing import CliRunner

from siren_ext.adapters.read import read_summary
from siren_ext.experiments import few_steps
from siren_ext.pocket.parts import FEW_STEPS


@pytest.mark.models
def test_an_adapter_is_trained_and_measured(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "tiny", "epsilon")
    monkeypatch.setattr(few_steps, "POCKET", base)
    monkeypatch.setattr(few_steps, "Eff0", FakeBackbone)
    monkeypatch.setattr(few_steps, "_CLASSES", 2)
    settings = SMALL.to_dict() | {"caption_dropout": 0.0}
    del settings["steps"]
    monkeypatch.setattr(few_steps, "SETTINGS", settings)
    work, out = tmp_path / "work", tmp_path / "few.safetensors"
    line = ["--corpus", str(write_corpus(tmp_path / "corpus")), "--work", str(work)]
    line += ["--out", str(out), "--pictures", "6", "--steps", "2", "--per-class", "1"]
    made = CliRunner().invoke(few_steps.app, line)
    assert made.exit_code == 0, made.output
    assert len(list((work / "pictures").glob("*.png"))) == 6
    with (work / "few_steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["sampler"], int(row["steps"])) for row in rows] == [
        (sampler, steps) for sampler, steps, _, _ in few_steps.WAYS
    ]
    assert all(0 <= float(row["recognised"]) <= 1 and row["pictures"] == "2" for row in rows)
    trained = out.read_bytes()
    again = CliRunner().invoke(few_steps.app, line)
    assert again.exit_code == 0, again.output
    assert out.read_bytes() == trained


def test_the_bundled_adapter_fits_the_bundled_model() -> None:
    summary = read_summary(FEW_STEPS)
    assert summary.kinds == {"lora": summary.modules}
    assert summary.text_modules == 0
    assert FEW_STEPS.stat().st_size < 5 << 20
