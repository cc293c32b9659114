"""The page and the record of a ranking."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siren_ext.attribution.attribute import Attribution
from siren_ext.attribution.config import AttributionConfig
from siren_ext.attribution.influence import rank_patches
from siren_ext.attribution.wording import DOES_NOT_PROVE
from siren_ext.report.attribution_report import write_attribution

NAMES = tuple(f"image {number}.png" for number in range(15))


@pytest.fixture
def found(tmp_path: Path) -> Attribution:
    similarity = np.random.default_rng(0).uniform(0, 0.2, (1, 16, 15))
    similarity[:, :, 4] += 0.5
    ranking = rank_patches(similarity)
    return Attribution(
        "gradients",
        NAMES,
        tuple(f"{number:064d}" for number in range(15)),
        ("made.png",),
        ("f" * 64,),
        ranking,
        ranking,
        AttributionConfig(),
        {"model": str(tmp_path / "secret place" / "model.safetensors"), "token": "abc"},
        ("A <b>note</b>.",),
    )


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = []
    for number, name in enumerate(NAMES):
        made.append(tmp_path / name)
        Image.new("RGB", (30, 20), (number * 10, 0, 0)).save(made[-1])
    return made


def test_the_page_shows_the_gallery_and_the_limits(
    found: Attribution, files: list[Path], tmp_path: Path
) -> None:
    written = write_attribution(found, files, files[:1], tmp_path / "out")
    page = html.unescape(written.html.read_text(encoding="utf-8"))
    assert page.count('src="data:image/jpeg') == 13
    assert "image 4.png" in page
    assert "1. score" in page
    assert "rank 1<" in page
    assert "A <b>note</b>." not in written.html.read_text(encoding="utf-8")
    assert "A <b>note</b>." in page
    for line in DOES_NOT_PROVE["gradients"]:
        assert line in page
    assert "Which images shaped this picture?" in page
    assert "arXiv 2311.00500" in page
    assert "<script" not in page
    data = json.loads(written.json.read_text(encoding="utf-8"))
    assert data["format"] == "siren_ext.attribution"
    assert data["images"][0]["image"] == "image 4.png"
    assert data["does_not_prove"] == list(DOES_NOT_PROVE["gradients"])
    both = page + written.json.read_text(encoding="utf-8")
    assert str(tmp_path) not in both
    assert "abc" not in both


def test_a_page_of_patches_says_that_no_model_was_asked(
    found: Attribution, files: list[Path], tmp_path: Path
) -> None:
    other = replace(found, method="patches", notes=(), pictures=("a.png", "b.png"))
    other = replace(other, picture_hashes=("a" * 64, "b" * 64))
    written = write_attribution(other, files, files[:2], tmp_path / "out")
    page = written.html.read_text(encoding="utf-8")
    assert "Which images shaped these pictures?" in page
    assert "No model was asked" in page
    assert "Please note" not in page
    assert "Rank by patches" not in page


def test_files_that_are_gone_are_shown_without_a_preview(
    found: Attribution, files: list[Path], tmp_path: Path
) -> None:
    files[4].unlink()
    page = write_attribution(found, files, [tmp_path / "gone.png"], tmp_path / "out").html
    assert page.read_text(encoding="utf-8").count("be read any more") == 2
