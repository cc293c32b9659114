from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_models import draw_images
from torch import Tensor

from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError
from siren_ext.experiments.paper_looks import Looks, kept_looks


def colours(pictures: Tensor) -> np.ndarray:
    return pictures.double().mean((2, 3)).numpy()


def test_similarity_and_change_are_kept(tmp_path: Path) -> None:
    before, after = draw_images(tmp_path / "a", 3, size=40), tmp_path / "b"
    after.mkdir()
    for path in before.glob("*.png"):
        values = np.asarray(Image.open(path).convert("RGB")).astype(int)
        moved = np.where(values < 128, values + 10, values - 10).astype(np.uint8)
        Image.fromarray(moved).save(after / path.name)
    looks = Looks(ImageSet.open(before), {"eff0": colours})
    file = tmp_path / "kept" / "one.json"
    looks.keep(before, after, file)
    found = kept_looks(file)
    assert found["psnr"] == pytest.approx(20 * np.log10(25.5))
    assert 0.5 < found["eff0_similarity"] < 1
    looks.keep(before, before, file)
    same = kept_looks(file)
    assert "psnr" not in same  # nothing happened to the pictures
    rows = np.concatenate([colours(one) for one in ImageSet.open(before).tensors(40)])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert same["eff0_similarity"] == pytest.approx((unit @ unit.T).mean())


def test_equal_pictures_have_a_finite_change(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_images(tmp_path / name, 2)
    looks = Looks(ImageSet.open(tmp_path / "a"), {})
    looks.keep(tmp_path / "a", tmp_path / "b", tmp_path / "one.json")
    assert kept_looks(tmp_path / "one.json") == {"psnr": 100.0}


def test_images_and_networks_have_a_name(tmp_path: Path) -> None:
    images = ImageSet.open(draw_images(tmp_path / "a", 2))
    others = ImageSet.open(draw_images(tmp_path / "b", 3))
    names = {Looks(one, nets).name for one in (images, others) for nets in ({}, {"eff0": colours})}
    assert len(names) == 4


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text("{")
    with pytest.raises(ConfigError, match="Delete it and run the study again"):
        kept_looks(tmp_path / "one.json")
