"""Rows of the paper's tables in which an attacker trains, on a tiny model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from support.keyed_coating import SHAPE
from support.paper_studies import tiny_study
from support.tiny_models import draw_images

from siren_ext.adapters.read import read_summary
from siren_ext.attacks.uncoat_training import UncoatConfig
from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.paper_attacks import notes
from siren_ext.experiments.paper_cells import Cell, Made
from siren_ext.experiments.paper_study import PaperStudy


@pytest.fixture
def study(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PaperStudy:
    return tiny_study(tmp_path, tmp_path_factory.getbasetemp())


@pytest.mark.models
def test_unlearning_says_what_it_isolated(study: PaperStudy) -> None:
    training = {"isolation_rate": 0.5, "isolation_noises": 1, "unlearning_share": 1.0}
    guilty, innocent = study.rows("table_6", Cell("half", Made(0.75, training=training)))
    assert guilty["isolated"] == innocent["isolated"] == 2
    hits = guilty["precision"] * 2
    assert hits in (1, 2)  # of four images three are coated
    assert guilty["recall"] == pytest.approx(hits / 3)
    assert innocent["precision"] == 0
    assert math.isnan(innocent["recall"])
    usual = study.rows("table_6", Cell("half", Made(0.75)))
    assert "precision" not in usual[0]
    assert len(list((study.out / "models").glob("*.safetensors"))) == 5


@pytest.mark.models
def test_images_are_handled_afresh_at_each_step(study: PaperStudy) -> None:
    cell = Cell("cropped", Made(training={"augment": ("crop",)}))
    assert [row["role"] for row in study.rows("section_5_7", cell)] == ["guilty", "innocent"]
    files = (study.out / "models").glob("*.safetensors")
    settings = [read_summary(file).metadata["siren_settings"] for file in files]
    assert sorted('"augment": ["crop"]' in one for one in settings) == [False, True, True]


@pytest.mark.models
def test_networks_are_trained_once_for_each_coating(study: PaperStudy, tmp_path: Path) -> None:
    cell = Cell("own", uncoat="own")
    with pytest.raises(ConfigError, match="--others"):
        study.rows("table_7", cell)
    study = dataclasses.replace(
        study,
        others=ImageSet.open(draw_images(tmp_path / "strangers", 3, size=40)),
        uncoating=UncoatConfig(width=2, levels=2, epochs=2, learning_rate=0.05),
    )
    with pytest.raises(ConfigError, match="--other-coater"):
        study.rows("table_7", Cell("another", uncoat="coater"))
    rows = study.rows("table_7", cell)
    assert [row["role"] for row in rows] == ["guilty", "innocent"]
    assert 0 < rows[0]["psnr"] < 100
    assert "psnr" not in rows[1]  # of guilty models alone
    assert all(0 < row["p_pictures"] <= 1 for row in rows)
    assert all(row["p_file"] is None for row in rows)
    plain = study.rows("table_7", Cell("nothing"))
    assert "psnr" not in plain[0]
    networks = study.out / "uncoating"
    assert len(list(networks.glob("*.safetensors"))) == 1
    stamps = {path: path.stat().st_mtime_ns for path in networks.iterdir()}
    assert study.rows("table_7", cell) == rows
    assert {path: path.stat().st_mtime_ns for path in networks.iterdir()} == stamps
    study = dataclasses.replace(study, other_coater=Coater(SHAPE, seed=2))
    study.rows("table_7", Cell("another", uncoat="coater"))
    study.rows("table_7", Cell("key", uncoat="key"))
    assert len(list(networks.glob("*.safetensors"))) == 3
    study = dataclasses.replace(study, others=None)
    study.rows("table_7", Cell("half", uncoat="half"))
    assert len(list(networks.glob("*.safetensors"))) == 4
    halves = [len(ImageSet.open(one)) for one in (study.out / "coated").iterdir()]
    assert sorted(halves) == sorted([3, 3, 3, len(study.data), len(study.data) // 2])
    assert not list((study.out / "work").glob("*"))


def test_lines_below_a_table() -> None:
    rows = [
        {"row": "a", "role": "guilty", "precision": "0.5", "recall": 0.25},
        {"row": "a", "role": "guilty", "precision": 0.0, "recall": 0.0},
        {"row": "a", "role": "innocent", "precision": 0.0, "recall": "nan"},
        {"row": "b", "role": "guilty", "precision": ""},
        {"row": "c", "role": "guilty"},
    ]
    assert notes(rows) == [
        "- a: 25 % of the isolated images are coated, and 12 % of the coated images are isolated.",
        "",
    ]
    assert notes(rows[-1:]) == []
