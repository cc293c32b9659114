"""How visible a coating is, and whether that is as wished."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.experiments.visibility import app, summary

FINE = {"psnr": 41.0, "ssim": 1.0, "colour": 1.5}


def test_every_aim_has_to_be_met() -> None:
    assert summary([FINE, FINE])["met"]
    for one in ({"psnr": 39.9}, {"colour": 3.1}, {"colour": 2.6}):
        assert not summary([FINE, FINE | one])["met"]
    found = summary([FINE, FINE | {"psnr": 43.0, "colour": 2.1}])
    assert found["met"]  # the mean is 1.8
    assert (found["psnr"], found["psnr_lowest"]) == (42.0, 41.0)
    assert (found["colour"], found["colour_largest"]) == (pytest.approx(1.8), 2.1)


def test_less_strength_is_seen_less(tmp_path: Path) -> None:
    photos = draw_images(tmp_path / "photos", 3, size=96)
    coater = tmp_path / "coater.safetensors"
    Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1).save(coater)
    line = ["--data", str(photos), "--coater", str(coater), "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, [*line, "--strength", "1", "--strength", "0.25"])
    assert made.exit_code == 0, made.output
    with (tmp_path / "out" / "visibility.csv").open() as file:
        full, weak, *published = csv.DictReader(file)
    assert float(full["psnr"]) == pytest.approx(38, abs=0.5)
    assert float(weak["psnr"]) > float(full["psnr"]) + 9
    assert float(weak["colour_largest"]) < float(full["colour_largest"])
    if "eff0" in full:  # the network is an extra
        assert 0 < float(weak["eff0"]) < float(full["eff0"])
    assert [row["mark"] for row in published] == ["Luo et al.", "DIAGNOSIS"]
    assert all(20 < float(row["psnr"]) < 60 for row in published)
    assert "| photos | coating, strength 0.25 |" in made.stdout
    assert "Wished: PSNR of 40 dB or more" in made.stdout


def test_images_that_cannot_be_marked_are_named(tmp_path: Path) -> None:
    photos = draw_images(tmp_path / "photos", 3, size=48)  # too small for Luo et al.
    (photos / "0.png").write_bytes(b"no image")
    (photos / "1.png").rename(photos / "2.jpg.png")
    coater = tmp_path / "coater.safetensors"
    Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1).save(coater)
    line = ["--data", str(photos), "--coater", str(coater), "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    with (tmp_path / "out" / "visibility.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["mark"], row["images"]) for row in rows] == [
        ("coating, strength 1", "2"), ("DIAGNOSIS", "2"),
    ]  # fmt: skip
    assert float(rows[0]["psnr"]) == pytest.approx(38, abs=0.5)  # each with its own original
    assert "0.png is left out" in made.stdout
    assert "photos, Luo et al., is left out" in made.stdout
