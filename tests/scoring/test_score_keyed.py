"""Scoring with features: what files may hold, and what they must."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keyed_coating import BITS, SHAPE, key
from support.stopping import StopAtQuestion
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import Cancelled, ScoreError
from siren_ext.scoring.score import score_folder, score_images
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(SHAPE, seed=3)


@pytest.fixture(scope="module")
def plain() -> Coater:
    return Coater(dataclasses.replace(SHAPE, message_bits=0), seed=3)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path / "photos", 4, size=24))


def test_features_stand_beside_the_scores_and_survive_the_file(
    coater: Coater, plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    scores = score_folder(photos.root, coater, batch_size=3)
    assert scores.features is not None
    assert scores.features.shape == (4, BITS)
    images = [to_tensor(read_picture(item.path).rgb) for item in photos.items]
    for image, row, score in zip(images, scores.features, scores.scores, strict=True):
        expected = coater.features(image)[0].detach().double().numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)
        assert score == pytest.approx(float(coater.score(image)[0]), abs=1e-5)
    scores.save(tmp_path / "s.json")
    loaded = ScoreSet.load(tmp_path / "s.json")
    assert np.array_equal(loaded.features, scores.features)  # type: ignore[arg-type]
    assert not loaded.features.flags.writeable  # type: ignore[union-attr]
    found = keyed_test(loaded.features, key().signs())
    assert found.images == 4
    assert score_folder(photos.root, plain).features is None
    assert "features" not in score_folder(photos.root, plain).to_dict()["images"][0]
    joined = ScoreSet.concat([scores, loaded])
    assert joined.features is not None
    assert joined.features.shape == (8, BITS)
    bare = dataclasses.replace(loaded, features=None)
    assert ScoreSet.concat([scores, bare]).features is None


def test_a_stopped_scoring_keeps_its_features(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    paths = [item.path for item in photos.items]
    whole = score_images(paths, coater, batch_size=1)
    partial = tmp_path / "partial.json"
    with pytest.raises(Cancelled):
        score_images(paths, coater, batch_size=1, partial=partial, progress=StopAtQuestion(3))
    assert ScoreSet.load(partial).features is not None
    resumed = score_images(paths, coater, batch_size=1, partial=partial)
    assert np.array_equal(resumed.features, whole.features)  # type: ignore[arg-type]
    dataclasses.replace(whole, features=None).save(partial)
    again = score_images(paths, coater, batch_size=1, partial=partial)
    assert np.array_equal(again.features, whole.features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda rows: rows[1].pop("features"), f"0 or {BITS} features"),
        (lambda rows: rows[1]["features"].pop(), f"{BITS - 1} or {BITS} features"),
        (
            lambda rows: rows[0].update(features=[]),
            r"images\[0\].features is \[\]; expected a list",
        ),
        (lambda rows: rows[0].update(features="++--"), r"images\[0\].features is '\+\+--'"),
        (lambda rows: rows[1]["features"].__setitem__(0, True), r"features\[0\] is True"),
        (lambda rows: rows[1]["features"].__setitem__(0, 1e40), r"features\[0\] is 1e\+40"),
        (lambda rows: [row.update(features=[0.0] * 513) for row in rows], "1 to 512 numbers"),
        (lambda rows: rows[1].update(looks=[0.0] * 7), r"images\[1\].looks .* 8 to 8 numbers"),
        (lambda rows: rows[1].pop("looks"), "0 or 8 looks"),
    ],
)
def test_damaged_features_are_refused(
    coater: Coater, photos: ImageSet, damage: Any, words: str
) -> None:
    data = score_folder(photos.root, coater).to_dict()
    damage(data["images"])
    with pytest.raises(ScoreError, match=words):
        ScoreSet.from_dict(data)


def test_features_of_another_shape_are_refused() -> None:
    parts = (np.zeros(2), ("a", "b"), ("", ""), "c", {}, ())
    for table in (np.zeros(3), np.zeros((3, 4)), np.full((2, 2), np.nan)):
        with pytest.raises(ScoreError, match="a row of finite numbers for each"):
            ScoreSet(*parts, table)
