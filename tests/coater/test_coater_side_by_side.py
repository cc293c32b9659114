"""The reference of benchmarks/side_by_side.py does the same work: equal files and scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scripts import load_script

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.apply import coat_images

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="only in a source tree")


def test_both_sides_give_the_same(tmp_path: Path) -> None:
    bench = load_script(ROOT / "benchmarks" / "published_structure.py")
    coater = Coater(CoaterConfig.preset("official", channels=8, working_size=32), seed=1)
    reference = bench.Reference(coater)
    Image.fromarray(bench.picture(32, 32)).save(tmp_path / "a.png")
    reference.coat(tmp_path / "a.png", tmp_path)
    image = reference.read(tmp_path / "a.png")
    with Image.open(tmp_path / "a_coated.png") as coated:
        found = np.asarray(coated).astype(int)
    own = (coat_images(image, coater)[0] * 255).round().permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - own).max() <= 1
    assert (found != own).mean() < 0.01
    assert (own != np.asarray(Image.open(tmp_path / "a.png"))).any()
    distance = (coater.score(image).item() + 1) ** 2 - 1
    assert reference.score(image) ** 2 == pytest.approx(distance, rel=1e-4)


def test_the_page_is_written_from_the_results(tmp_path: Path) -> None:
    bench = load_script(ROOT / "benchmarks" / "side_by_side.py")
    rows = [bench.row("coat", 4, 5.5, "slow"), bench.row("memory", 600, 700, "large", most=True)]
    rows = [{"rounds": 7} | one for one in rows]
    results = {"rows": rows, "machine": "x86_64, torch 2"}
    bench.write_page(json.loads(json.dumps(results)), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert "| coat | >= 4x | 5.5x | 7 | met |  |" in text
    assert "| memory | <= 600x | 700x | 7 | missed | large |" in text
