"""Listing of image files: natural order, what is left out."""

from __future__ import annotations

import logging

import pytest
from PIL import Image

from siren_ext.data import image_files
from siren_ext.data.image_files import (
    FORMATS,
    decoder_warning,
    image_suffixes,
    list_images,
    readable_formats,
    scan_images,
)
from siren_ext.errors import ImageError


def test_listing_is_natural_and_leaves_out_what_it_must(tmp_path):
    inner = tmp_path / "data"
    inner.mkdir()
    for name in ("10.png", "2.png", "a.JPG", "B.png", ".hidden.png", "notes.txt", "run.eps"):
        (inner / name).write_bytes(b"x")
    (inner / "sub").mkdir()
    (inner / "sub" / "deep.png").write_bytes(b"x")
    (tmp_path / "secret.png").write_bytes(b"x")
    (inner / "link.png").symlink_to(tmp_path / "secret.png")
    (inner / "own.png").symlink_to(inner / "2.png")
    (inner / "gone.png").symlink_to(tmp_path / "nothing")
    (inner / "door").symlink_to(tmp_path)
    assert [p.name for p in list_images(inner)] == ["2.png", "10.png", "a.JPG", "B.png", "own.png"]
    deep, refused = scan_images(inner, deep=True)
    assert "deep.png" in [p.name for p in deep]
    assert "secret.png" not in [p.name for p in deep]
    assert sorted(p.name for p, _ in refused) == ["door", "gone.png", "link.png"]
    with pytest.raises(ImageError, match="folder"):
        list_images(tmp_path / "absent")


def test_usual_suffixes_are_known_and_program_formats_are_not():
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif"} <= image_suffixes()
    assert not {".eps", ".ps", ".wmf", ".txt", ".pdf", ".svg"} & image_suffixes()


def test_only_formats_of_pictures_are_decoded():
    Image.init()
    assert {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"} <= set(readable_formats()) <= FORMATS
    assert not {"PSD", "PCX", "FLI", "ICNS", "IPTC", "EPS"} & set(readable_formats())


@pytest.mark.parametrize("version", ["9.4.0", "10.0.1", "12.3.0", "12.9"])
def test_old_decoders_are_warned_about(version: str) -> None:
    warning = decoder_warning(version)
    assert warning.startswith(f"Warning: Pillow {version} is installed. Releases before 13.0 have")
    assert "use only images from sources that you trust" in warning


@pytest.mark.parametrize("version", ["13.0.0", "13.1.0.dev0", "14.0"])
def test_good_decoders_are_not(version: str) -> None:
    assert decoder_warning(version) == ""


def test_the_warning_is_logged_once(monkeypatch, caplog) -> None:
    monkeypatch.setattr(image_files, "_SAFE_PILLOW", (99, 0))
    monkeypatch.setattr(image_files, "readable_formats", image_files.readable_formats.__wrapped__)
    with caplog.at_level(logging.WARNING, logger="siren_ext"):
        assert image_files.readable_formats() == readable_formats()
    assert [record.getMessage() for record in caplog.records] == [decoder_warning()]
