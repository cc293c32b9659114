"""Both strategies find what a toy source knows by heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.toy_source import SIDE, caption, scene, toy_model, write_scenes

from siren_ext.attribution.confidence import confidence
from siren_ext.attribution.distances import l2
from siren_ext.attribution.key_queries import Asking
from siren_ext.attribution.key_samples import (
    at_random,
    detection,
    generation,
    image_candidates,
    is_shared,
    memorised,
)
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.data.images import Picture, to_uint8, write_picture
from siren_ext.errors import ConfigError

PLANTED = [3, 8, 11, 14]
CONFIG = SourceConfig(keys=4, repeats=2, pictures=3)


def asking(tmp_path: Path, **changes) -> Asking:
    return Asking(replace(CONFIG, **changes), "img2img", l2, SIDE, tmp_path / "answers")


def test_detection_finds_the_planted_images(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(20))
    found = detection(data)(asking(tmp_path), toy_model("source", PLANTED), None)
    assert {key.caption for key in found.keys} == {caption(number) for number in PLANTED}
    assert all(key.distance < 0.1 for key in found.keys)
    assert (found.strategy, found.candidates, found.copies, found.shared) == ("detection", 20, 0, 0)
    assert any("No public base model" in note for note in found.notes)


def test_generation_finds_the_captions_with_one_picture(tmp_path: Path) -> None:
    captions = [caption(number) for number in range(20)]
    found = generation(captions)(asking(tmp_path), toy_model("source", PLANTED), None)
    assert {key.caption for key in found.keys} == {caption(number) for number in PLANTED}
    for key in found.keys:
        number = int(key.caption.split()[1])
        assert l2(key.view(SIDE), scene(number)[None])[0] < 0.1


def test_what_the_base_knows_is_dropped(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(16))
    base = toy_model("base", [3, 8])
    found = detection(data)(asking(tmp_path, keys=2), toy_model("source", PLANTED), base)
    assert {key.caption for key in found.keys} == {caption(11), caption(14)}
    assert all(key.base_distance - key.distance >= 0.03 for key in found.keys)
    assert found.shared == 2
    assert is_shared(0.1, 0.12, 0.03)
    assert not is_shared(0.1, 0.14, 0.03)
    assert is_shared(0.1, float("nan"), 0.03)


def test_a_source_that_learnt_nothing_of_its_own_is_refused(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(6))
    twin = toy_model("twin", PLANTED)
    with pytest.raises(ConfigError, match="0 are usable key samples"):
        detection(data)(asking(tmp_path), toy_model("source", PLANTED), twin)
    with pytest.raises(ConfigError, match="0 give pictures that are at most"):
        generation([caption(1), caption(2)])(asking(tmp_path), toy_model("source", []), None)


def test_copies_count_once(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(6))
    write_picture(Picture(to_uint8(scene(3) * 0.97)), tmp_path / "data" / "copy.png")
    (tmp_path / "data" / "copy.txt").write_text(caption(3))
    data = type(data).from_folder(tmp_path / "data")
    found = detection(data)(asking(tmp_path, keys=6), toy_model("source", [3]), None)
    assert found.copies == 1
    assert [key.caption for key in found.keys].count(caption(3)) == 1


def test_random_samples_are_less_telling(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(20))
    source = toy_model("source", PLANTED)
    ask = asking(tmp_path)
    share = {}
    for name, strategy in (("detection", detection(data)), ("random", at_random(data))):
        chosen = strategy(ask, source, None)
        near = ask.answers("source", source, chosen.keys).nearest
        share[name] = confidence(near, 0.15)
    assert share["detection"] == 1
    assert share["random"] < 1


def test_candidates_are_drawn_by_seed(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data", range(10))
    names = [[key.name for key in image_candidates(data, 4, seed)] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 4
    assert len(image_candidates(data, 99, 0)) == 10


def test_the_repeated_picture_is_the_middle_of_its_cluster(tmp_path: Path) -> None:
    files = []
    shades = [0.5, 0.52, 0.48, 0.9, 0.1]
    for number, shade in enumerate(shades):
        files.append(tmp_path / f"{number}.png")
        write_picture(Picture(np.full((8, 8, 3), round(255 * shade), np.uint8)), files[-1])
    found = memorised(files, l2, 8, 0.05)
    assert found is not None
    image, spread = found
    assert image.name == "0.png"
    assert spread == pytest.approx((0.02 + 0.02 + 0.04) / 3, abs=0.003)
    assert memorised(files[:1], l2, 8, 0.05) is None
    assert memorised(files[3:], l2, 8, 0.05) is None
