"""Keyed coating of folders and scoring with features: what files may hold, and what they must."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import draw_images
from typer.testing import CliRunner

from siren_ext.cli.app import app
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.coating.apply import coat_images
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import Cancelled, CoaterError, ScoreError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.progress import Progress
from siren_ext.scoring.score import score_folder, score_images
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test

BITS = 16
SHAPE = CoaterConfig(
    channels=4, generator_blocks=1, extractor_blocks=1, working_size=16, message_bits=BITS
)


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(SHAPE, seed=3)


@pytest.fixture(scope="module")
def plain() -> Coater:
    return Coater(dataclasses.replace(SHAPE, message_bits=0), seed=3)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path / "photos", 4, size=24))


def key(seed: int = 0) -> CoatingKey:
    signs = np.random.default_rng(seed).integers(0, 2, BITS) * 2 - 1
    return CoatingKey(signs, bytes([seed]) * 32)


# -- coating --------------------------------------------------------------------------------


def test_files_carry_the_message_of_their_key_and_records_do_not(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    out = tmp_path / "coated"
    manifest = coat_folder(photos, coater, out, key=key(1))
    assert manifest.key == key(1).fingerprint()
    assert CoatManifest.load(out / MANIFEST_NAME) == manifest
    text = (out / MANIFEST_NAME).read_text(encoding="utf-8")
    signs = key(1).signs()
    secrets = [
        key(1)._packed().hex(),
        "".join("1" if sign > 0 else "0" for sign in signs),
        json.dumps(signs.tolist())[1:-1],
        json.dumps(signs.tolist(), separators=(",", ":"))[1:-1],
    ]
    assert not any(secret in text for secret in secrets)
    assert "features" not in text
    first = photos.items[0]
    written = to_tensor(read_picture(out / "0.png").rgb)
    clean = to_tensor(read_picture(first.path).rgb)
    assert torch.equal(written, coat_images(clean, coater, key=key(1)))
    assert not torch.equal(written, coat_images(clean, coater, key=key(2)))


def test_each_recipient_has_copies_of_their_own(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    first = coat_folder(photos, coater, tmp_path / "a", key=key(1))
    second = coat_folder(photos, coater, tmp_path / "b", key=key(2))
    for one, other in zip(first.entries, second.entries, strict=True):
        assert one.source_sha256 == other.source_sha256
        assert one.output_sha256 != other.output_sha256
    # another key in the same folder is other work: nothing of the first is taken for it
    again = coat_folder(photos, coater, tmp_path / "a", key=key(2))
    assert [e.output_sha256 for e in again.entries] == [e.output_sha256 for e in second.entries]


class StopAt(Progress):
    def __init__(self, units: int) -> None:
        self.left = units
        super().__init__(self._asked)

    def _asked(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_stopped_run_goes_on_with_the_same_key_only(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    for out in ("same", "other"):
        with pytest.raises(Cancelled):
            coat_folder(
                photos, coater, tmp_path / out, key=key(1), batch_size=1, progress=StopAt(7)
            )
    whole = coat_folder(photos, coater, tmp_path / "whole", key=key(1), batch_size=1)
    same = coat_folder(photos, coater, tmp_path / "same", key=key(1), batch_size=1)
    assert [e.output_sha256 for e in same.entries] == [e.output_sha256 for e in whole.entries]
    other = coat_folder(photos, coater, tmp_path / "other", key=key(2), batch_size=1)
    assert not {e.output_sha256 for e in other.entries} & {e.output_sha256 for e in whole.entries}


def test_keys_that_do_not_fit_are_refused_before_anything_is_written(
    coater: Coater, plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    short = CoatingKey(np.ones(8), bytes(32))
    cases: tuple[tuple[Coater, Any, str], ...] = (
        (coater, None, "Found no key; expected a key of 16 bits"),
        (coater, short, "Found a key of 8 bits; expected a key of 16 bits"),
        (plain, key(), "Found a key of 16 bits; expected no key: this coater is not keyed"),
    )
    for number, (used, given, words) in enumerate(cases):
        with pytest.raises(CoaterError, match=words):
            coat_folder(photos, used, tmp_path / str(number), key=given)
        assert not (tmp_path / str(number)).exists()
    with pytest.raises(CoaterError, match="keyed and no message"):
        coat_images(torch.rand(1, 3, 16, 16), coater)


def test_manifests_without_a_key_are_still_read(
    plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    coat_folder(photos, plain, tmp_path / "out")
    path = tmp_path / "out" / MANIFEST_NAME
    old = json.loads(path.read_text(encoding="utf-8"))
    del old["key"]
    path.write_text(json.dumps(old), encoding="utf-8")
    assert CoatManifest.load(path).key == ""
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.png")}
    coat_folder(photos, plain, tmp_path / "out")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.png")} == before


# -- scoring --------------------------------------------------------------------------------


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
    found = keyed_test(loaded.features, key().signs(), decoys=100, rng=np.random.default_rng(0))
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
        score_images(paths, coater, batch_size=1, partial=partial, progress=StopAt(2))
    assert ScoreSet.load(partial).features is not None
    resumed = score_images(paths, coater, batch_size=1, partial=partial)
    assert np.array_equal(resumed.features, whole.features)  # type: ignore[arg-type]
    dataclasses.replace(whole, features=None).save(partial)
    again = score_images(paths, coater, batch_size=1, partial=partial)
    assert np.array_equal(again.features, whole.features)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "damage",
    [
        lambda rows: rows[1].pop("features"),
        lambda rows: rows[1]["features"].pop(),
        lambda rows: rows[0].update(features=[]),
        lambda rows: rows[0].update(features="++--"),
        lambda rows: rows[1]["features"].__setitem__(0, True),
        lambda rows: rows[1]["features"].__setitem__(0, 1e40),
        lambda rows: [row.update(features=[0.0] * 513) for row in rows],
    ],
)
def test_damaged_features_are_refused(
    coater: Coater, photos: ImageSet, damage: Any, tmp_path: Path
) -> None:
    data = score_folder(photos.root, coater).to_dict()
    damage(data["images"])
    with pytest.raises(ScoreError, match="'features' is not a list of finite numbers"):
        ScoreSet.from_dict(data)


def test_features_of_another_shape_are_refused() -> None:
    parts = (np.zeros(2), ("a", "b"), ("", ""), "c", {}, ())
    for table in (np.zeros(3), np.zeros((3, 4)), np.full((2, 2), np.nan)):
        with pytest.raises(ScoreError, match="a row of finite numbers for each"):
            ScoreSet(*parts, table)


# -- the command ----------------------------------------------------------------------------


def test_coat_command_with_a_key_file(coater: Coater, photos: ImageSet, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from siren_ext.keys.coating_key import KeyRing

    coater.save(tmp_path / "k.safetensors")
    ring = KeyRing([("ann", key(1)), ("bob", key(2))])
    ring.save(tmp_path / "keys.json", "correct horse battery")
    words = ["coat", str(photos.root), "--coater", str(tmp_path / "k.safetensors"), "--quiet"]
    with_key = ["--key", str(tmp_path / "keys.json"), "--passphrase-env", "SECRET"]
    env = {"SECRET": "correct horse battery"}
    run = CliRunner().invoke

    done = run(
        app, [*words, "--out", str(tmp_path / "a"), *with_key, "--recipient", "bob"], env=env
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert CoatManifest.load(tmp_path / "a" / MANIFEST_NAME).key == key(2).fingerprint()
    for extra, told in (
        ([], "is keyed; add --key FILE"),
        (["--recipient", "bob"], "add --key FILE"),
        (with_key, "name one of its recipients: ann, bob"),
        ([*with_key, "--recipient", "eve"], "no key for 'eve'"),
    ):
        refused = run(app, [*words, "--out", str(tmp_path / "b"), *extra], env=env)
        assert refused.exit_code == 2
        assert told in " ".join(refused.output.split())
        assert not (tmp_path / "b").exists()
    wrong = run(app, [*words, "--out", str(tmp_path / "b"), *with_key], env={"SECRET": "no horse"})
    assert wrong.exit_code == 2
