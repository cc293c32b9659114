"""Scoring of images: order, hashes, failures, resuming."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from support.score_sets import pool
from support.stopping import StopAfter

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.errors import Cancelled, ScoreError
from siren_ext.files import sha256_file
from siren_ext.scoring.score import score_folder, score_images
from siren_ext.scoring.score_set import ScoreSet


@pytest.fixture(scope="module")
def coater():
    config = CoaterConfig(
        channels=4, generator_blocks=1, extractor_blocks=1, bits=0, features=4, working_size=16
    )
    return Coater(config, seed=0)


def save_noise(path, seed, size=(24, 24)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Seven images of several sizes, one damaged file, one text file."""
    place = tmp_path / "mimicries"
    place.mkdir()
    for i, size in enumerate(
        [(24, 24), (24, 24), (40, 24), (17, 31), (24, 24), (64, 48), (24, 24)]
    ):
        save_noise(place / f"{i}.png", i, size)
    (place / "3b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (place / "readme.txt").write_text("no image")
    return place


def test_folder_is_scored_in_order_with_hashes_and_failures(folder, coater):
    result = score_folder(folder, coater, batch_size=3)
    assert result.names == ("0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "6.png")
    assert result.hashes == tuple(sha256_file(folder / name) for name in result.names)
    assert [name for name, _ in result.failures] == ["3b.png"]
    assert "3b.png" in result.failures[0][1]
    assert result.coater == coater.fingerprint
    assert result.source == {"kind": "folder", "folder": "mimicries"}
    assert str(folder.parent) not in json.dumps(result.to_dict())
    assert len(set(result.scores)) == 7


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_scores_do_not_depend_on_batching_or_company(folder, coater, batch_size):
    reference = score_folder(folder, coater, batch_size=2).scores
    np.testing.assert_allclose(
        score_folder(folder, coater, batch_size=batch_size).scores, reference, atol=1e-5
    )
    alone = score_images([folder / "5.png"], coater).scores
    np.testing.assert_allclose(alone, reference[5:6], atol=1e-5)


def test_tensors_and_files_mix(folder, coater):
    pixels = torch.from_numpy(np.array(Image.open(folder / "1.png"))).permute(2, 0, 1) / 255
    images = [pixels, folder / "1.png", pixels[None], torch.zeros(1, 8, 8)]
    result = score_images(iter(images), coater, source={"kind": "mix"})
    assert result.names == ("tensor 0", "1.png", "tensor 2")
    assert result.hashes[0] == ""
    np.testing.assert_allclose(result.scores, result.scores[0], atol=1e-5)
    assert result.failures[0][0] == "tensor 3"
    assert result.source == {"kind": "mix"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 30 + "]" * 30, "not a JSON object"),
        ('{"a":' * 60 + "1" + "}" * 60, "nested too deep"),
        ('{"a": "' + "x" * (9 << 20) + '"}', "expected at most"),
    ],
    ids=["list", "deep", "large"],
)
def test_a_provenance_that_would_spoil_the_file_is_left_out(folder, coater, tmp_path, text, why):
    (folder / "provenance.json").write_text(text)
    result = score_folder(folder, coater)
    assert why in result.source["provenance_error"]
    result.save(tmp_path / "scores.json")
    assert ScoreSet.load(tmp_path / "scores.json").source == result.source


def test_provenance_is_kept_and_a_broken_one_told(folder, coater):
    (folder / "provenance.json").write_text('{"prompts": ["a dog"], "steps": 20}')
    result = score_folder(folder, coater, source={"kind": "local"})
    assert result.source["provenance"] == {"prompts": ["a dog"], "steps": 20}
    assert result.source["kind"] == "local"
    (folder / "provenance.json").write_text('{"steps": NaN}')
    result = score_folder(folder, coater)
    assert "NaN" in result.source["provenance_error"]


def test_nothing_to_score_is_an_error(tmp_path, coater):
    with pytest.raises(ScoreError, match="contains no images"):
        score_folder(tmp_path, coater)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ScoreError, match=r"contains no images; .* photo\.heic: "):
        score_folder(tmp_path, coater)
    with pytest.raises(ScoreError, match="not a folder"):
        score_folder(tmp_path / "missing", coater)
    (tmp_path / "a.png").write_bytes(b"junk")
    with pytest.raises(ScoreError, match=r"None of 1 images.*a.png"):
        score_folder(tmp_path, coater)


def test_a_stopped_run_goes_on_where_it_was(folder, coater, tmp_path, monkeypatch):
    whole = score_folder(folder, coater, batch_size=2)
    partial = tmp_path / "partial.json"
    with pytest.raises(Cancelled):
        score_folder(folder, coater, batch_size=2, partial=partial, progress=StopAfter(4))
    assert len(ScoreSet.load(partial)) >= 4

    counted = []
    original = coater.score
    monkeypatch.setattr(
        coater, "score", lambda images: counted.append(len(images)) or original(images)
    )
    resumed = score_folder(folder, coater, batch_size=2, partial=partial)
    assert sum(counted) <= 3
    np.testing.assert_allclose(resumed.scores, whole.scores, atol=1e-6)
    np.testing.assert_array_equal(resumed.looks, whole.looks)
    assert resumed.names == whole.names
    assert not partial.exists()


def test_remnants_of_another_coater_are_not_used(folder, coater, tmp_path):
    partial = tmp_path / "partial.json"
    hashes = tuple(sha256_file(folder / f"{i}.png") for i in range(2))
    pool((777.0, 777.0), hashes=hashes).save(partial)
    assert score_folder(folder, coater, partial=partial).scores.max() < 777
