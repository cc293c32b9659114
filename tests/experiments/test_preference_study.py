"""The study of preference evidence: a tiny run that is resumed."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images, need_models, shared_model
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.experiments.preference_study import CONTROLS, app
from siren_ext.preference import changes, patterns
from siren_ext.stats import tilted


@pytest.mark.models
def test_a_study_is_run_and_resumed(tmp_path: Path, tmp_path_factory, monkeypatch) -> None:
    need_models()
    monkeypatch.setattr(changes, "DRAWN", 40)
    monkeypatch.setattr(changes, "_SPREAD", 20)
    monkeypatch.setattr(tilted, "_PILOTS", 2)
    monkeypatch.setattr(patterns, "CODINGS", 8)
    monkeypatch.setattr(patterns, "_PER_BIT", 2)
    model = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    draw_images(tmp_path / "photos", 4)
    coater = tmp_path / "coater.safetensors"
    Coater(SHAPE, seed=1).save(coater)
    out = tmp_path / "study"
    line = ["--data", str(tmp_path / "photos"), "--coater", str(coater), "--base", str(model)]
    line += ["--out", str(out), "--steps", "1", "--seeds", "1", "--draws", "1"]
    draw_images(tmp_path / "strangers", 6)
    line += ["--others", str(tmp_path / "strangers"), "--only", "clean,handled,others_20"]
    stages = [["--stage", "coat"]]
    stages += [["--stage", "train", "--shard", f"{part}/2"] for part in (0, 1)]
    stages += [["--stage", "measure", "--shard", f"{part}/3"] for part in (0, 1, 2)]
    for stage in stages:
        made = CliRunner().invoke(app, [*line, *stage])
        assert made.exit_code == 0, made.output
        assert not (out / "preference.csv").exists()
    made = CliRunner().invoke(app, [*line, "--stage", "table", "--weights", "0,1"])
    assert made.exit_code == 0, made.output
    with (out / "preference.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["control"]) for row in rows] == [
        (case, control) for case in ("clean", "others_20", "handled") for control in CONTROLS
    ]
    for name in ("p", "bits_p", "p_weight_0", "p_weight_1"):
        assert all(0 < float(row[name]) <= 1 for row in rows)
    assert "| all coated, then cropped, mirrored, JPEG 85 |" in made.output
    assert len(list((out / "adapters").glob("*.safetensors"))) == 6
    times = {path: path.stat().st_mtime_ns for path in (out / "preference").iterdir()}
    assert CliRunner().invoke(app, line).exit_code == 0
    assert times == {path: path.stat().st_mtime_ns for path in (out / "preference").iterdir()}
    more = [*line, "--only", "clean", "--controls", "none", "--draws", "2"]
    assert CliRunner().invoke(app, more).exit_code == 0
    other = {path for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert other == {out / "preference" / "clean_0.none.removed.json"}
    (tmp_path / "innocent").mkdir()
    for name in ("clean_0", "others_20_0"):
        shutil.copy(out / "adapters" / f"{name}.safetensors", tmp_path / "innocent")
    foreign = ["--innocent", str(tmp_path / "innocent"), "--out", str(tmp_path / "second")]
    made = CliRunner().invoke(app, [*line, *foreign, "--only", "clean"])
    assert made.exit_code == 0, made.output
    with (tmp_path / "second" / "preference.csv").open() as file:
        assert [row["case"] for row in csv.DictReader(file)] == ["clean"] * 3 + ["other images"] * 6
    used = ["--strangers", str(tmp_path / "innocent"), "--only", "handled"]
    made = CliRunner().invoke(app, [*line, *used, "--table", str(tmp_path / "used.csv")])
    assert made.exit_code == 0, made.output
    with (tmp_path / "used.csv").open() as file:
        assert [row["strangers"] for row in csv.DictReader(file)] == ["2"] * 3
    assert len(list((out / "preference").glob("handled_0.*.*.removed.json"))) == 3
    both = ["--only", "handled", "--controls", "none,clean", "--readings", "whole,removed"]
    made = CliRunner().invoke(app, [*line, *both])
    assert made.exit_code == 0, made.output
    assert "| control: clean, whole patterns | control: clean, whole patterns, bits alone |" in (
        made.output
    )
    with (out / "preference.csv").open() as file:
        rows = list(csv.DictReader(file))
    alone, other_alone, minus_clean, other_minus_clean = (float(row["bits_z"]) for row in rows)
    assert alone == other_alone  # only with a control it matters what the base model removes
    assert minus_clean != other_minus_clean
    for wrong in (
        ["--weights", "x"],
        ["--only", "nothing"],
        ["--controls", "nothing"],
        ["--stage", "nothing"],
    ):
        assert CliRunner().invoke(app, [*line, *wrong]).exit_code == 2
