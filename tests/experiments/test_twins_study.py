"""The study of twins: its figures, and a tiny run that is resumed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.experiments.twins_study import app, figures
from siren_ext.scoring.score_set import ScoreSet

COINS = np.random.default_rng(5).integers(0, 2, 60)


def compared(strength: float) -> ScoreSet:
    scores = strength * (1 - 2 * COINS) + np.random.default_rng(2).normal(size=60)
    source = {"kind": "twins", "coins": COINS.tolist()}
    return ScoreSet(scores, ("x",) * 60, ("",) * 60, "coater", source)


def test_figures_of_known_preferences() -> None:
    found, clean = figures(compared(1.5)), figures(compared(0.0))
    assert found["p"] < 1e-6
    assert found["z"] > 5
    assert found["used_low"] > 0.3
    assert clean["p"] > 0.01
    for one in (found, clean):  # 1,000 other coins: three standard errors
        assert one["others_05"] == pytest.approx(0.05, abs=0.021)
        assert one["others_01"] == pytest.approx(0.01, abs=0.0095)


@pytest.mark.models
def test_a_study_is_run_and_resumed(tmp_path: Path, tmp_path_factory) -> None:
    need_models()
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    draw_images(tmp_path / "photos", 4)
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    out = tmp_path / "study"
    line = ["--data", str(tmp_path / "photos"), "--coater", str(coater), "--base", str(model)]
    line += ["--out", str(out), "--steps", "1", "--seeds", "1", "--draws", "1", "--device", "cpu"]
    line += ["--only", "share_50,others,twins"]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    assert "published_psnr_min" in made.output
    with (out / "twins.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["control"]) for row in rows] == [
        (case, control)
        for case in ("share_50", "others", "twins")
        for control in ("none", "base", "clean")
    ]
    assert len(list((out / "adapters").glob("*.safetensors"))) == 4
    kept = [*(out / "compared").iterdir(), *(out / "published").glob("*.png")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    page = out.parent / "page.md"
    page.write_text("<!-- twins:start -->\n<!-- twins:end -->\n")
    assert CliRunner().invoke(app, [*line, "--page", str(page)]).exit_code == 0
    assert "| trained on | control | p |" in page.read_text()
    assert "| 50 % | base | " in page.read_text()
    assert times == {path: path.stat().st_mtime_ns for path in kept}
    refused = CliRunner().invoke(app, [*line[:-1], "nothing"])
    assert refused.exit_code == 2
