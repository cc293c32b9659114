"""Rows with a coater of their own, on a tiny model: trained once, without a key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.paper_studies import tiny_study
from support.tiny_models import draw_images
from torch import Tensor

from siren_ext.attacks.apply import Step
from siren_ext.data.dataset import ImageSet
from siren_ext.experiments import paper_ablation
from siren_ext.experiments.paper_ablation import HEAD, ablation_rows, ablation_table, fitted_coater
from siren_ext.experiments.paper_cells import Cell, Fitted
from siren_ext.experiments.paper_study import PaperStudy

SMALL = {"warmup": 0, "rehearse_every": 0, "batch_size": 2}
ADAPTED = Cell("adapted", fitted=Fitted(SMALL), paper="100 %")
CLASSES = Cell("two classes", fitted=Fitted(SMALL, {"head": "binary", "channels": 4}, start=False))


@pytest.fixture
def study(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PaperStudy:
    def colours(pictures: Tensor) -> np.ndarray:
        return pictures.double().mean((2, 3)).numpy()

    others = ImageSet.open(draw_images(tmp_path / "others", 3, size=40))
    tiny = tiny_study(tmp_path, tmp_path_factory.getbasetemp())
    return replace(tiny, others=others, networks={"eff0": colours})


@pytest.mark.models
def test_a_coater_is_trained_once_for_each_way(
    study: PaperStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {cell.row: ablation_rows(study, "table_9", cell, 1) for cell in (ADAPTED, CLASSES)}
    found = sorted(path.name for path in (study.out / "coaters").iterdir())
    assert len([name for name in found if name.count(".") == 1]) == 2
    assert len([name for name in found if "surrogate.safetensors" in name]) == 1
    for guilty, innocent in rows.values():
        assert (guilty["role"], innocent["role"]) == ("guilty", "innocent")
        assert guilty["study"] == innocent["study"] == study.name
        assert guilty["p_pictures"] is guilty["p_file"] is None
        assert 0 <= guilty["tpr_0.01"] <= 1
        assert 0 <= guilty["photos_0.01"] <= 1
        assert 30 < guilty["coated_psnr"] < 60
        assert guilty["eff0_fid"] >= 0
        assert "photos_0.01" not in innocent
    assert rows["adapted"][0]["coated_psnr"] != rows["two classes"][0]["coated_psnr"]
    # the clean models and their pictures are shared
    assert len(list((study.out / "models").glob("*.safetensors"))) == 4
    monkeypatch.setattr(paper_ablation, "train_coater", None)
    assert ablation_rows(study, "table_9", CLASSES, 1) == rows["two classes"]


@pytest.mark.models
def test_a_reference_is_changed_like_the_suspicious_model(study: PaperStudy) -> None:
    black = replace(ADAPTED, after=(Step("brightness", {"factor": 0.0}),))
    rows = [
        ablation_rows(study, "table_10_ks", replace(black, matched=way), 1) for way in (False, True)
    ]
    for alone, both in zip(*rows, strict=True):
        assert alone["auc"] in (0, 1)  # every picture is black, and every one of the reference not
        assert both["auc"] == 0.5
        assert "photos_0.01" not in both
        assert "coated_psnr" not in both
    assert not list((study.out / "work").glob("*"))


@pytest.mark.models
def test_a_row_trains_as_it_says(study: PaperStudy) -> None:
    assert ADAPTED.fitted is not None
    assert CLASSES.fitted is not None
    adapted, classes = (fitted_coater(study, one, 2) for one in (ADAPTED.fitted, CLASSES.fitted))
    assert (adapted.config.head, classes.config.head) == ("sphere", "binary")
    assert adapted.provenance["training"]["steps"] == 2
    other = fitted_coater(study, Fitted(SMALL | {"learn_weight": 0.0}), 2)
    assert other.provenance["training"]["learn_weight"] == 0
    assert other.fingerprint != adapted.fingerprint


def test_a_line_has_what_was_measured() -> None:
    guilty = {
        "row": "adapted", "role": "guilty", "tpr_0.01": "0.5", "tpr_0.0001": "0.25",
        "tpr_1e-09": "0.125",
        "photos_0.01": "1", "photos_0.0001": "", "detection_loss": "0.7", "coated_psnr": "41.24",
        "coated_colour": "2", "eff0_fid": "170.4",
    }  # fmt: skip
    innocent = {"row": "adapted", "role": "innocent", "tpr_0.01": "0", "tpr_0.0001": "0"}
    second = guilty | {"tpr_0.01": "0.7"}
    lines = ablation_table((ADAPTED, CLASSES), [guilty, second, innocent], "not yet").splitlines()
    assert lines[2] == (
        "| adapted | 100 % | 60 % (50 to 70) | 25 % (25 to 25) | 12 % (12 to 12) | 0 % "
        "| 100 % |  | 0.70 | 41.2 dB | 2.00 | 170 (170 to 170) | 2 |"
    )
    assert lines[3].startswith("| two classes | lost | not yet |")
    assert all(line.count("|") == len(HEAD) + 1 for line in lines)
