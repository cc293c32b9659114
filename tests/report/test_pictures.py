"""Pictures in a report: pairs, differences, galleries."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image
from support.reports import Page, evidence, save, written
from support.score_sets import pool

from siren_ext.files import sha256_file
from siren_ext.report.pictures import CoatEvidence


def test_pictures_and_measures_of_the_written_files(suspect, reference, tmp_path):
    pairs = evidence(tmp_path)
    _, html, data = written(
        suspect, reference, tmp_path / "out", coated=CoatEvidence(tuple(pairs), "ab" * 32)
    )
    quality = data["quality"]
    assert (quality["measured"], quality["of"]) == (3, 3)
    for i, file in enumerate(quality["files"]):
        assert file["sha256"] == sha256_file(pairs[i][1])
        assert file["psnr_db"] == pytest.approx(-20 * np.log10((2 + i) / 255), abs=1e-3)
        assert 0.9 < file["ssim"] < 1
        assert 0 < file["de00_mean"] < 4
    worst = quality["summary"]["psnr_db"]["worst"]
    assert worst == min(file["psnr_db"] for file in quality["files"])
    page = Page(html)
    assert page.tags.count("img") == 9
    assert "Difference × 10" in page.text  # noqa: RUF001
    assert f"{worst:.1f}) " in page.text


def test_amplified_difference_is_what_it_says(tmp_path):
    from siren_ext.report.pictures import _pictures

    first = save(tmp_path / "a.png", 0)
    pixels = np.asarray(Image.open(first)).astype(int)
    pixels[..., 0] += 3
    pixels[..., 2] -= 20
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "b.png")
    import base64
    import io

    uri = _pictures(first, tmp_path / "b.png")["difference"]
    shown = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert np.unique(np.asarray(shown).reshape(-1, 3), axis=0).tolist() == [[158, 128, 0]]


def test_bad_pairs_are_told_and_left_out(suspect, reference, tmp_path):
    pairs = evidence(tmp_path, 4)
    pairs[1][1].write_bytes(b"broken")
    save(pairs[2][1], 9, (16, 16))
    _, html, data = written(suspect, reference, tmp_path / "out", coated=CoatEvidence(tuple(pairs)))
    assert data["quality"]["measured"] == 2
    text = Page(html).text
    assert "coated1.png was skipped" in text
    assert "32 x 24 pixels, but the coated file 16 x 16" in text
    assert str(tmp_path) not in html
    broken = CoatEvidence(tuple(pairs[1:2]))
    _, html, data = written(suspect, reference, tmp_path / "none", coated=broken)
    assert data["quality"] is None
    assert "What the coating does" not in html


def test_uncoated_copies_have_no_infinite_numbers(suspect, reference, tmp_path):
    path = save(tmp_path / "same.png", 0)
    coated = CoatEvidence(((path, path),))
    _, html, data = written(suspect, reference, tmp_path / "out", coated=coated)
    assert data["quality"]["files"][0]["psnr_db"] is None
    assert "unlimited (no change)" in html


def test_galleries_show_the_extremes_by_content(reference, tmp_path):
    files = [save(tmp_path / f"{i}.png", i) for i in range(14)]
    scores = np.arange(14.0)[::-1]
    suspect = pool(
        scores, names=tuple(f.name for f in files), hashes=tuple(sha256_file(f) for f in files)
    )
    stranger = save(tmp_path / "0_other.png", 99)
    _, html, _ = written(suspect, reference, tmp_path / "out", mimicries=[*files, stranger])
    names = re.findall(r'alt="image ([^"]*)"', html)
    assert names == [f"{i}.png" for i in (13, 12, 11, 10, 9, 8, 5, 4, 3, 2, 1, 0)]
    assert "Suspect: lowest scores" in html
    assert "Reference: lowest scores" not in html
