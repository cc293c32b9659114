"""Keyed coating of folders: what files may hold, and what they must."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.keyed_coating import SHAPE, key
from support.stopping import StopAtQuestion
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater
from siren_ext.coating.apply import coat_images
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, CoatConfig, CoatManifest
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture, to_tensor
from siren_ext.errors import Cancelled, CoaterError, DatasetError
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.stats.keyed import contributions


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater(SHAPE, seed=3)


@pytest.fixture(scope="module")
def plain() -> Coater:
    return Coater(dataclasses.replace(SHAPE, message_bits=0), seed=3)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path / "photos", 4, size=24))


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
    with pytest.raises(DatasetError, match="another key, perhaps for another recipient"):
        coat_folder(photos, coater, tmp_path / "a", key=key(2))
    assert coat_folder(photos, coater, tmp_path / "a", key=key(1)) == first


def test_a_stopped_run_goes_on_with_the_same_key_only(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    for out in ("same", "other"):
        with pytest.raises(Cancelled):
            coat_folder(
                photos, coater, tmp_path / out, key=key(1), batch_size=1, progress=StopAtQuestion(8)
            )
    whole = coat_folder(photos, coater, tmp_path / "whole", key=key(1), batch_size=1)
    same = coat_folder(photos, coater, tmp_path / "same", key=key(1), batch_size=1)
    assert [e.output_sha256 for e in same.entries] == [e.output_sha256 for e in whole.entries]
    with pytest.raises(DatasetError, match="another key, perhaps for another recipient"):
        coat_folder(photos, coater, tmp_path / "other", key=key(2), batch_size=1)


def test_keys_that_do_not_fit_are_refused_before_anything_is_written(
    coater: Coater, plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    short = CoatingKey(np.ones(8), bytes(32))
    cases: tuple[tuple[Coater, Any, str], ...] = (
        (coater, None, "Found no key; expected a key of 16 bits. .siren-ext key new. makes one"),
        (coater, short, "Found a key of 8 bits; expected a key of 16 bits"),
        (plain, key(), "Found a key of 16 bits; expected no key, because this coater is not keyed"),
    )
    for number, (used, given, words) in enumerate(cases):
        with pytest.raises(CoaterError, match=words):
            coat_folder(photos, used, tmp_path / str(number), key=given)
        assert not (tmp_path / str(number)).exists()
    with pytest.raises(CoaterError, match="keyed, but no message"):
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


def test_compression_of_a_keyed_coating_is_measured_by_its_message(
    coater: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    config = CoatConfig(format="jpeg", quality=40, strength=3)
    manifest = coat_folder(photos, coater, tmp_path / "coated", config, key=key(1))
    signs = key(1).signs()

    def evidence(image: torch.Tensor) -> float:
        logits = coater.features(image).detach().double().numpy()
        return float((contributions(logits)[0] * signs).mean())

    measured = 0
    for item, entry in zip(photos.items, manifest.entries, strict=True):
        clean = to_tensor(read_picture(item.path).rgb)
        coated = coat_images(clean, coater, strength=3, key=key(1))
        written = to_tensor(read_picture(tmp_path / "coated" / entry.output).rgb)
        assert entry.compression.score == pytest.approx(float(coater.score(coated)), rel=1e-5)
        assert entry.coated_score == pytest.approx(float(coater.score(written)), rel=1e-5)
        effect = evidence(coated) - evidence(clean)
        if entry.compression.kept is not None:
            measured += 1
            kept = (evidence(written) - evidence(clean)) / effect
            assert entry.compression.kept == pytest.approx(kept, abs=0.02)
        else:
            assert effect < 1e-5
    assert measured
