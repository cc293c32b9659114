"""The plan of a study: seeds, prompts, and the folder that it is bound to."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.hostile_files import damaged
from support.keyed_coating import SHAPE
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.experiments.layout import cached_value, open_log
from siren_ext.experiments.study import (
    DetectionConfig,
    coated_set,
    numbered_set,
    roster,
    spread_evenly,
    study_prompts,
)
from siren_ext.metrics.quality import psnr
from siren_ext.progress import NULL


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"size": 151}, "mimicries"),
        ({"against": 301}, "reference"),
        ({"seeds": 0}, "seeds"),
        ({"seed": 0}, "seed"),
        ({"prompt_source": "dreams"}, "prompt_source"),
        ({"levels": (0.5,)}, "levels"),
    ],
)
def test_impossible_plans_fail_before_any_work(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        DetectionConfig(**change)


def test_no_two_models_share_a_seed() -> None:
    models = [m for seed in (1, 2) for m in roster(DetectionConfig(seeds=400, seed=seed))]
    assert len({model.training_seed for model in models}) == len(models)
    ends = sorted((m.noise_seed, m.noise_seed + m.images) for m in models)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ends))
    assert [m.name for m in models[:3]] == ["reference", "guilty_0", "innocent_0"]
    assert roster(DetectionConfig(seeds=5))[:3] == roster(DetectionConfig(seeds=1))


def test_prompts(tmp_path: Path) -> None:
    captioned = ImageSet.open(draw_images(tmp_path / "a", 6))
    bare = ImageSet.open(draw_images(tmp_path / "b", 3, captions=False))
    some = study_prompts(captioned, "cat", DetectionConfig(prompt_count=2))
    assert len(set(some)) == 2
    assert set(some) <= set(captioned.captions())
    assert study_prompts(bare, " cat ", DetectionConfig()) == ("an image of cat",)
    by_class = DetectionConfig(prompt_source="class")
    assert study_prompts(captioned, "cat", by_class) == ("an image of cat",)
    assert study_prompts(bare, "cat", DetectionConfig(prompts=("x", "y"))) == ("x", "y")
    with pytest.raises(ConfigError, match="class word"):
        study_prompts(bare, "  ", DetectionConfig())


def test_spread_evenly() -> None:
    assert spread_evenly(range(10), 4) == [0, 3, 6, 9]
    assert spread_evenly(range(3), 0) == spread_evenly(range(3), 9) == [0, 1, 2]
    assert spread_evenly(range(3), 1) == [0]
    assert spread_evenly([], 3) == []


def test_folder_is_bound_to_one_study(tmp_path: Path) -> None:
    with open_log(tmp_path / "a", {"coater": "x", "prompts": ("p",)}).step("coat"):
        pass
    again = open_log(tmp_path / "a", {"coater": "x", "prompts": ("p",)})
    assert "coat" in again.costs()["seconds"]
    open_log(tmp_path / "a", {"prompts": ("p",)})  # what is shared need not know the coater
    (tmp_path / "a" / "coated").mkdir()
    with pytest.raises(ConfigError, match=r"differs in coater \(see study\.json\)"):
        open_log(tmp_path / "a", {"coater": "y", "prompts": ("p",)})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="do not belong to a study"):
        open_log(tmp_path / "b", {})
    (tmp_path / "a" / "study.json").write_text("[]")
    with pytest.raises(ConfigError, match="is not the log of a study"):
        open_log(tmp_path / "a", {})


def test_cached_values_are_made_once_per_key(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    path = tmp_path / "kept.json"
    assert [cached_value(path, key, make) for key in ("a", "a", "b", "b")] == [1, 1, 2, 2]
    text = path.read_text()
    for content, _ in damaged(text).values():
        path.write_bytes(content)
        assert cached_value(path, "b", make) == len(made), "made again"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert cached_value(path, "b", make) == 2


def test_copies_are_numbered_and_keep_their_captions(tmp_path: Path) -> None:
    images = ImageSet.open(draw_images(tmp_path / "photos", 3))
    made = numbered_set(reversed(images.items), tmp_path / "copies")
    assert [item.path.name for item in made.items] == ["0000.png", "0001.png", "0002.png"]
    assert [item.caption for item in made.items] == [item.caption for item in images.items][::-1]
    assert made.items[0].path.read_bytes() == images.items[2].path.read_bytes()


def test_coated_images_belong_to_their_originals(tmp_path: Path) -> None:
    """Also where two originals share a stem, and after they have swapped their names."""
    photos = draw_images(tmp_path / "photos", 3, size=64)
    with Image.open(photos / "1.png") as image:
        image.convert("RGB").save(photos / "0.jpg", quality=95)
    coater = Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1)
    for swapped in (False, True):
        if swapped:
            (photos / "1.png").rename(tmp_path / "kept.png")
            (photos / "2.png").rename(photos / "1.png")
            (tmp_path / "kept.png").rename(photos / "2.png")
        data = ImageSet.open(photos)
        coated = coated_set(data, coater, tmp_path / "coated", NULL)
        assert len(coated) == len(data)
        for pair in zip(data.tensors(64), coated.tensors(64), strict=True):
            assert psnr(*pair) > 35


def test_a_study_names_images_that_cannot_be_coated(tmp_path: Path) -> None:
    photos = draw_images(tmp_path / "photos", 2, size=64)
    (photos / "1.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"1\.png can't be coated"):
        coated_set(ImageSet.open(photos), Coater(SHAPE, seed=1), tmp_path / "coated", NULL)
