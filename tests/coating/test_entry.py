"""One written image and its entry."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from support.fake_coater import FakeCoater
from support.noise_files import noise

from siren_ext.coating.entry import NOTHING, write_entry
from siren_ext.coating.formats import CompressionMeter, Target
from siren_ext.coating.passes import Result
from siren_ext.coating.plan import CoatJob
from siren_ext.data.dataset import Item
from siren_ext.data.images import read_picture
from siren_ext.files import sha256_file


@pytest.mark.parametrize("quality", [None, 90])
def test_the_entry_describes_the_file(tmp_path: Path, quality: int | None) -> None:
    source = noise(tmp_path / "a.png", size=(20, 16))
    (tmp_path / "a.txt").write_text("a fox")
    picture = read_picture(source)
    suffix = ".png" if quality is None else ".jpg"
    item = Item(source, "a fox", PurePosixPath("a.png"), caption_files=(tmp_path / "a.txt",))
    job = CoatJob(
        item, f"b{suffix}", sha256_file(source), picture.size, Target(suffix, quality), True
    )
    changed = np.where(picture.rgb > 127, picture.rgb - 2, picture.rgb + 2).astype(np.uint8)
    out, result = tmp_path / "out", Result(changed, 0.6, 0.5)
    meter = CompressionMeter(FakeCoater(), None)  # type: ignore[arg-type]
    entry = write_entry(job, dataclasses.replace(picture), result, out, "plain", meter)
    assert (out / "b.txt").read_text() == "a fox"
    assert entry.output_sha256 == sha256_file(out / entry.output)
    assert entry.source_sha256 == sha256_file(source)
    assert entry.quality == quality
    with Image.open(out / entry.output) as image:
        written = np.asarray(image.convert("RGB"))
    error = np.mean((written.astype(float) - picture.rgb) ** 2)
    assert entry.psnr_db == pytest.approx(10 * np.log10(255**2 / error))
    if quality is None:
        assert np.array_equal(written, changed)
        assert entry.coated_score == 0.5
    else:
        assert entry.coated_score == pytest.approx(written.mean() / 255, abs=1e-6)


@pytest.mark.parametrize(("coated", "notes"), [(True, (NOTHING,)), (False, ())])
def test_an_image_to_which_nothing_was_added_says_so(tmp_path: Path, coated, notes) -> None:
    source = noise(tmp_path / "a.png", size=(20, 16))
    picture = read_picture(source)
    item = Item(source, None, PurePosixPath("a.png"))
    job = CoatJob(item, "a.png", sha256_file(source), picture.size, Target(), coated)
    meter = CompressionMeter(FakeCoater(), None)  # type: ignore[arg-type]
    result = Result(picture.rgb.copy(), 0.6, 0.6)
    assert write_entry(job, picture, result, tmp_path / "out", "plain", meter).notes == notes
