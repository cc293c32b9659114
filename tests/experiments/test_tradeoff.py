"""The plot of studies against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import check_reader

from siren_ext.errors import ScoreError
from siren_ext.experiments.tradeoff import read_point


def result() -> dict[str, Any]:
    """What a study leaves, as far as it is read; further names are allowed."""
    rate = {"alpha": 1e-3, "mean": 0.9, "lowest": 0.8, "highest": 1, "se_seeds": 0.1}
    return {
        "format": "siren_ext.detection",
        "version": 1,
        "name": "toys",
        "coater_settings": {},
        "protocol": {"size": 20, "against": 40, "repeats": 200, "seed": 1, "low_end": 1},
        "files": {"psnr_db": {"mean": 38.5}, "local_de00_p99": {"mean": 2, "worst": 3}},
        "models": [
            {"model": "reference", "role": "reference"},
            {"model": "guilty_0", "role": "guilty", "auc": 0.9},
            {"model": "guilty_1", "role": "guilty", "auc": 1},
            {"model": "innocent_0", "role": "innocent", "auc": 0.5},
        ],
        "guilty": [rate | {"alpha": 0.05}, rate],
    }


def test_the_figures_of_a_study(tmp_path: Path) -> None:
    path = tmp_path / "one" / "detection.json"
    path.parent.mkdir()
    path.write_text(json.dumps(result()))
    point = read_point(path)
    assert (point["study"], point["set"], point["psnr_db"]) == ("one", "toys", 38.5)
    assert (point["tpr"], point["tpr_lowest"], point["tpr_highest"]) == (0.9, 0.8, 1)
    assert (point["auc_guilty"], point["auc_guilty_lowest"]) == (pytest.approx(0.95), 0.9)
    assert point["auc_innocent"] == 0.5


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "detection.json"
    path.write_text(json.dumps(result()))
    check_reader(path, read_point, ScoreError, but=("unknown name",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"guilty": []}, "no detection rate at 0.001"),
        ({"models": []}, "no area under the curve"),
        (
            {"models": [{"model": "a", "role": "guilty", "auc": 2}]},
            r"models\[0\].auc is 2; expected",
        ),
        ({"guilty": [{"alpha": 1e-3}]}, r"guilty\[0\] has no mean; expected a number from 0 to 1"),
        ({"files": {"psnr_db": {"mean": None}, "local_de00_p99": {"mean": 1}}}, "has no PSNR"),
        ({"files": {"psnr_db": 1}}, "files.psnr_db is 1; expected named values"),
    ],
)
def test_missing_figures_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "detection.json"
    path.write_text(json.dumps(result() | change))
    with pytest.raises(ScoreError, match=words):
        read_point(path)
