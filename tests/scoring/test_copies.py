"""Near copies: the same picture in other formats, sizes and qualities is found, others are not."""

from __future__ import annotations

import dataclasses
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.score_sets import pool

from siren_ext.data.images import read_picture, square_view, to_tensor
from siren_ext.errors import ScoreError
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.copies import MOST, NEAR, Copies, Earlier, copies_in, distinct_rows, phash_of
from siren_ext.scoring.score_set import ScoreSet


def picture_hash(picture: Image.Image) -> str:
    return phash_of(square_view(to_tensor(np.asarray(picture.convert("RGB"))), 96))


def saved(picture: Image.Image, kind: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def apart(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


def flipped(phash: str, bits: int) -> str:
    """The hash with its last ``bits`` bits turned."""
    return f"{int(phash, 16) ^ ((1 << bits) - 1):064x}"


def hashed(*phashes: str, scores: list[float] | None = None) -> ScoreSet:
    values = scores or [float(i) for i in range(len(phashes))]
    return pool(values, phashes=phashes)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    paths: list[Path] = sorted(sample_folder().glob("*.png"))[:24]
    return [Image.fromarray(read_picture(path).rgb) for path in paths]


def test_saved_again_a_picture_has_nearly_the_same_hash(pictures: list[Image.Image]) -> None:
    for picture in pictures[:8]:
        own = picture_hash(picture)
        assert len(own) == 64
        half = picture.resize((picture.width // 2, picture.height // 2))
        for copy in (
            saved(picture, "JPEG", quality=95),
            saved(picture, "JPEG", quality=30),
            saved(picture, "WEBP", quality=60),
            half,
            picture.resize((picture.width * 2, picture.height * 2)),
            saved(half, "JPEG", quality=75),
        ):
            assert apart(own, picture_hash(copy)) <= NEAR // 2


def test_mirrored_and_turned_pictures_are_copies(pictures: list[Image.Image]) -> None:
    for picture in pictures[:8]:
        for way in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM,
                    Image.Transpose.ROTATE_180):  # fmt: skip
            turned = saved(picture.transpose(way), "JPEG", quality=60)
            assert copies_in(hashed(picture_hash(picture), picture_hash(turned))).near == 1


def test_different_pictures_are_no_copies(pictures: list[Image.Image]) -> None:
    prints = [picture_hash(picture) for picture in pictures]
    assert min(apart(*pair) for pair in itertools.combinations(prints, 2)) > 2 * NEAR
    assert copies_in(hashed(*prints)) == Copies(tuple(range(24)), 0, 0, True)


def test_a_plain_picture_has_the_same_hash_in_every_size() -> None:
    grey = [Image.new("RGB", (side, side), (90, 90, 90)) for side in (32, 96, 131)]
    assert len({picture_hash(one) for one in grey}) == 1


def test_the_first_counts_whatever_the_scores() -> None:
    base = "5a" * 32
    near, far = flipped(base, NEAR), flipped(base, NEAR + 1)
    for scores in ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0]):
        assert distinct_rows(hashed(base, near, far, scores=scores)) == [0, 2]
    # copies are compared with pictures that count, so a row of small steps is not one picture
    steps = [flipped(base, turned) for turned in (0, 30, 60, 90)]
    assert distinct_rows(hashed(*steps)) == [0, 2]


def test_exact_copies_are_counted_first() -> None:
    names = ("a" * 64, "a" * 64, "b" * 64, "c" * 64)
    prints = ("5a" * 32, "5a" * 32, "5a" * 32, "3c0ff1" * 10 + "77aa")
    four = pool([1.0, 1.0, 2.0, 3.0], hashes=names, phashes=prints)
    assert copies_in(four) == Copies((0, 3), 1, 1, True)
    assert copies_in(four).to_dict() == {"kept": 2, "exact": 1, "near": 1, "looked": True}
    unknown = dataclasses.replace(four, phashes=None)
    assert copies_in(unknown) == Copies((0, 2, 3), 1, 0, False)


def test_many_pictures_are_compared_as_one_after_the_other() -> None:
    rng = np.random.default_rng(3)
    own = [rng.bytes(32).hex() for _ in range(700)]
    prints = [
        flipped(one, int(turned)) for one, turned in zip(own, rng.integers(0, 36, 700), strict=True)
    ]
    mixed = [(own + prints)[place] for place in rng.permutation(1400)]
    kept = distinct_rows(hashed(*mixed))
    earlier = Earlier()
    assert kept == [place for place, one in enumerate(mixed) if not earlier.copied(one)]
    assert len(kept) == 700


def test_too_many_pictures_are_not_compared() -> None:
    many = pool(np.arange(MOST + 1), phashes=("5a" * 32,) * (MOST + 1))
    found = copies_in(many)
    assert (len(found.kept), found.looked) == (MOST + 1, False)


def test_hashes_are_kept_in_files_and_joined(tmp_path: Path) -> None:
    two = hashed("5a" * 32, "0f" * 32)
    two.save(tmp_path / "scores.json")
    assert ScoreSet.load(tmp_path / "scores.json").phashes == two.phashes
    older = dataclasses.replace(two, phashes=None)
    assert ScoreSet.from_dict(older.to_dict()).phashes is None
    assert ScoreSet.concat([two, two]).phashes == two.phashes * 2
    assert ScoreSet.concat([two, older]).phashes is None
    mixed = two.to_dict()
    del mixed["images"][0]["phash"]
    with pytest.raises(ScoreError, match="1 of 2 images in the set have a perceptual hash"):
        ScoreSet.from_dict(mixed, name="the set")
    for wrong in (("5a" * 32,), ("5A" * 32, "0f" * 32), ("", "")):
        with pytest.raises(ScoreError, match="expected 64 hexadecimal digits for each"):
            dataclasses.replace(two, phashes=wrong)
