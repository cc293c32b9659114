"""Outliers among training images: planted ones are found, and clean ones are not."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images, need_models
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.experiments.outliers import app, figures, outlier_scores


def test_scores_are_the_two_smallest_squares() -> None:
    known = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    assert outlier_scores(known, np.array([[0.0, 0.0]])).tolist() == [4.0]
    assert outlier_scores(known, known, skip_own=True).tolist() == [29.0, 38.0, 17.0]


def test_planted_outliers_are_found_and_clean_images_are_not() -> None:
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((100, 8))
    far = figures(clean, clean + 5 * rng.standard_normal((100, 8)))
    assert far["auc"] > 0.95
    assert far["left_out"] > 0.9
    assert far["left_out_clean"] < 0.2
    same = figures(clean, rng.standard_normal((100, 8)))
    assert same["low"] < 0.5 < same["high"]
    assert figures(clean, clean)["auc"] == 0.5


@pytest.mark.models
def test_the_command_writes_a_table(tmp_path: Path) -> None:
    need_models()
    photos = draw_images(tmp_path / "photos", 10)
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    line = ["--data", str(photos), "--coater", str(coater), "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    with (tmp_path / "out" / "outliers.csv").open() as file:
        row = next(csv.DictReader(file))
    assert row["network"] == "pocket"
    assert 0 <= float(row["low"]) <= float(row["auc"]) <= float(row["high"]) <= 1
    (photos / "0.png").unlink()
    few = CliRunner().invoke(app, [*line[:-1], str(tmp_path / "few")])
    assert few.exit_code == 2
    assert "expected 10 or more" in few.output
