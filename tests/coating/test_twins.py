"""Twins of coated images: what is written, recorded, resumed and refused."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from support.keyed_coating import SHAPE, key
from support.stopping import StopAfter
from support.tiny_models import draw_images

from siren_ext.coater.coater import Coater
from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import CoatConfig
from siren_ext.coating.twin_patterns import PATTERN_PSNR, TwinSide
from siren_ext.coating.twins import RECORD_NAME, TwinsRecord, checked_twins, coat_twins
from siren_ext.data.dataset import ImageSet
from siren_ext.data.images import read_picture
from siren_ext.errors import Cancelled, DatasetError, EvidenceError
from siren_ext.files import sha256_file
from siren_ext.service.watch import watch_folder


@pytest.fixture(scope="module")
def keyed() -> Coater:
    return Coater(SHAPE, seed=3)


@pytest.fixture(scope="module")
def plain() -> Coater:
    return Coater(dataclasses.replace(SHAPE, message_bits=0), seed=3)


@pytest.fixture
def photos(tmp_path: Path) -> ImageSet:
    return ImageSet.open(draw_images(tmp_path / "photos", 6, size=48))


def pixels(path: Path) -> np.ndarray:
    return read_picture(path).rgb.astype(np.float64)


@pytest.mark.parametrize("with_key", [True, False])
def test_both_copies_have_one_coating_and_differ_in_the_pattern(
    keyed: Coater, plain: Coater, photos: ImageSet, tmp_path: Path, with_key: bool
) -> None:
    coater, secret = (keyed, key(1)) if with_key else (plain, None)
    out, twins = tmp_path / "out", tmp_path / "private"
    manifest, record = coat_twins(photos, coater, out, twins, key=secret)
    coat_folder(photos, coater, tmp_path / "bare", key=secret)
    assert len(record.images) == len(manifest.entries) == 6
    assert TwinsRecord.load(twins) == record
    for entry, twin in zip(manifest.entries, record.images, strict=True):
        assert (twin.name, twin.published) == (entry.output, entry.output_sha256)
        assert sha256_file(out / twin.name) == twin.published
        assert sha256_file(twins / twin.name) == twin.twin
        one, other = pixels(out / twin.name), pixels(twins / twin.name)
        bare = pixels(tmp_path / "bare" / twin.name)
        free = (bare > 8) & (bare < 247)  # away from both ends nothing is clamped
        assert np.abs((one + other) / 2 - bare)[free].max() <= 1.5
        assert record.side() == TwinSide(record.secret)
        pattern = record.side().pattern(twin.source, 48, 48).permute(1, 2, 0).numpy() * 255
        apart = (one - other) / 2
        assert np.corrcoef(apart.ravel(), pattern.ravel())[0, 1] > 0.8
        noise = 10 * np.log10(255**2 / np.mean(apart**2))
        assert noise == pytest.approx(PATTERN_PSNR, abs=1.5)
    assert (out / "0.txt").read_text() == (twins / "0.txt").read_text()


def test_the_record_is_private_and_nothing_published_gives_it_away(
    keyed: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    _, record = coat_twins(photos, keyed, tmp_path / "out", tmp_path / "private", key=key(1))
    place = tmp_path / "private" / RECORD_NAME
    if os.name == "posix":
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    shown = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert record.secret.hex().encode() not in shown
    assert all(twin.twin.encode() not in shown for twin in record.images)
    assert record.secret.hex() not in repr(record)


def test_a_stopped_run_goes_on_with_the_same_coins(
    plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    out, twins = tmp_path / "out", tmp_path / "private"
    with pytest.raises(Cancelled):  # checks and coats six images, then stops within the twins
        coat_twins(photos, plain, out, twins, batch_size=1, progress=StopAfter(21))
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert len(written) == 6
    _, record = coat_twins(photos, plain, out, twins)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")} == written
    assert len(record.images) == 6
    assert checked_twins(twins)[0] == record
    _, again = coat_twins(photos, plain, out, twins, cells=5)  # a resumed run keeps its patterns
    assert again == record


def test_images_that_are_not_coated_have_no_twins(
    plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    config = CoatConfig(share=0.5)
    manifest, record = coat_twins(photos, plain, tmp_path / "out", tmp_path / "p", config)
    assert {twin.source for twin in record.images} == {
        entry.source for entry in manifest.entries if entry.coated
    }
    assert len(record.images) == 3


def test_published_copies_are_never_replaced(
    plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    coat_twins(photos, plain, out, tmp_path / "private")
    with pytest.raises(DatasetError, match="was coated with twins"):
        coat_folder(photos, plain, out)
    with pytest.raises(DatasetError, match="has no twins of it"):
        coat_twins(photos, plain, out, tmp_path / "other")
    coat_twins(photos, plain, tmp_path / "second", tmp_path / "other")
    with pytest.raises(DatasetError, match="with other twins"):
        coat_twins(photos, plain, out, tmp_path / "other")
    coat_folder(photos, plain, tmp_path / "bare")
    with pytest.raises(DatasetError, match="without twins"):
        coat_twins(photos, plain, tmp_path / "bare", tmp_path / "private")
    with pytest.raises(DatasetError, match="inside"):
        coat_twins(photos, plain, tmp_path / "third", tmp_path / "third" / "twins")
    with pytest.raises(DatasetError, match="inside"):
        coat_twins(photos, plain, tmp_path / "third", photos.root / "twins")


def test_twins_are_not_replaced_by_others_of_the_same_coins(
    plain: Coater, keyed: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    out, twins = tmp_path / "out", tmp_path / "private"
    coat_twins(photos, keyed, out, twins, key=key(1))

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for place in (out, twins) for path in place.rglob("*.*")}

    before = files()
    for config in (CoatConfig(share=0.5), CoatConfig(share=0.2, seed=5)):
        with pytest.raises(DatasetError, match="by an uncoated one or the other way round"):
            coat_twins(photos, keyed, out, twins, config, key=key(1))
    for config in (CoatConfig(strength=0.5), CoatConfig(quality=60)):
        with pytest.raises(DatasetError, match="another coater, strength or quality"):
            coat_twins(photos, keyed, out, twins, config, key=key(1))
    with pytest.raises(DatasetError, match="another coater, strength or quality"):
        coat_twins(photos, plain, out, twins)
    with pytest.raises(DatasetError, match="another key"):
        coat_twins(photos, keyed, out, twins, key=key(2))
    with pytest.raises(DatasetError, match="was coated with twins"):
        watch_folder(photos.root, keyed, out, key=key(1), once=True)
    draw_images(tmp_path / "more", 7, size=48)
    photo = photos.items[3].path
    original = photo.read_bytes()
    (tmp_path / "more" / "6.png").replace(photo)
    with pytest.raises(DatasetError, match=f"{photo.name} is not the same image that was coated"):
        coat_twins(ImageSet.open(photos.root), keyed, out, twins, key=key(1))
    photo.unlink()
    coat_twins(ImageSet.open(photos.root), keyed, out, twins, key=key(1))
    photo.write_bytes(original)
    coat_twins(photos, keyed, out, twins, CoatConfig(quality=95), key=key(1))
    assert {path: path.read_bytes() for path in before if path.suffix == ".png"} == {
        path: data for path, data in before.items() if path.suffix == ".png"
    }


def test_a_changed_record_or_twin_is_noticed(
    plain: Coater, photos: ImageSet, tmp_path: Path
) -> None:
    twins = tmp_path / "private"
    _, record = coat_twins(photos, plain, tmp_path / "out", twins)
    good = (twins / RECORD_NAME).read_text()

    def changed(change) -> None:
        values = json.loads(good)
        change(values)
        (twins / RECORD_NAME).write_text(json.dumps(values))

    changed(lambda values: values["images"][2].update(coin=1 - values["images"][2]["coin"]))
    with pytest.raises(EvidenceError, match="coin tosses of 1 images"):
        TwinsRecord.load(twins)
    # One secret in 64 gives these six images the same coins: take one that does not.
    others = (dataclasses.replace(record, secret=bytes([number]) * 32) for number in range(256))
    other = next(
        found.secret
        for found in others
        if any(found.side().coin(image.source) != image.coin for image in record.images)
    )
    changed(lambda values: values.update(secret=other.hex()))
    with pytest.raises(EvidenceError, match="that its secret gives"):
        TwinsRecord.load(twins)
    for name in ("../0.png", "/etc/passwd", "C:\\x.png", "a\\..\\..\\b.png"):
        changed(lambda values, name=name: values["images"][0].update(name=name))
        with pytest.raises(EvidenceError, match="inside the folder"):
            TwinsRecord.load(twins)
    changed(lambda values: values.update(images=[]))
    with pytest.raises(EvidenceError, match="has no images"):
        checked_twins(twins)
    (twins / RECORD_NAME).write_text(good)
    (twins / "3.png").write_bytes(b"x")
    with pytest.raises(EvidenceError, match=r"'3\.png' is missing or was changed"):
        checked_twins(twins)
    (twins / RECORD_NAME).unlink()
    with pytest.raises(EvidenceError, match=RECORD_NAME):
        TwinsRecord.load(twins)
