"""What handling leaves of the change that coated images have in common."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.errors import ConfigError
from siren_ext.experiments.handled_change import app, compared


def test_strength_and_shape_are_told_apart() -> None:
    before = torch.zeros(3, 4, 4)
    before[0, 0, 0] = 2.0
    assert compared(before, before) == {"strength": 1.0, "correlation": 1.0}
    assert compared(before, before / 4) == {"strength": 0.25, "correlation": 1.0}
    assert compared(before, before.flip(2)) == {"strength": 1.0, "correlation": 0.0}
    assert compared(before, torch.zeros(3, 4, 4)) == {"strength": 0.0, "correlation": 0.0}
    with pytest.raises(ConfigError, match="no change in common"):
        compared(torch.zeros(3, 4, 4), before)


def test_the_command_handles_clean_and_coated_images_alike(tmp_path: Path) -> None:
    photos = draw_images(tmp_path / "photos", 4)
    coater = tmp_path / "coater.safetensors"
    Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1).save(coater)
    out = tmp_path / "out"
    line = ["--data", str(photos), "--coater", str(coater), "--out", str(out), "--seeds", "2"]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    with (out / "handled_change.csv").open() as file:
        rows = {row["handling"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["nothing", "crop", "mirror", "jpeg", "all"]
    assert float(rows["nothing"]["strength"]) == pytest.approx(1)
    # unlike crops of the two would be a change of their own, several times as large
    assert all(0.2 < float(row["strength"]) < 1.5 for row in rows.values())
    assert [row["seeds"] for row in rows.values()] == ["1", "2", "2", "2", "2"]
    assert CliRunner().invoke(app, line).stdout == made.stdout
    others = draw_images(tmp_path / "others", 5)
    wrong = CliRunner().invoke(app, ["--data", str(others), *line[2:]])
    assert wrong.exit_code == 2  # figures of other images are not read as if they were of these
    assert "contains a study that differs in data" in wrong.output


def test_names_may_sort_otherwise_after_coating(tmp_path: Path) -> None:
    photos = draw_images(tmp_path / "photos", 3, size=64)
    (photos / "0.png").rename(photos / "b.png")
    with Image.open(photos / "1.png") as image:
        image.convert("RGB").save(photos / "b.jpg", quality=95)
    (photos / "1.png").unlink()
    coater = tmp_path / "coater.safetensors"
    Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1).save(coater)
    line = ["--data", str(photos), "--coater", str(coater), "--out", str(tmp_path / "out")]
    made = CliRunner().invoke(app, line)
    assert made.exit_code == 0, made.output
    with (tmp_path / "out" / "handled_change.csv").open() as file:
        rows = {row["handling"]: row for row in csv.DictReader(file)}
    assert float(rows["crop"]["strength"]) < 1.5
