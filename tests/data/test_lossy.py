"""JPEG and WebP out: pixels close to the picture, all metadata that the format can hold."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.metadata_files import COMMENT, IPTC, iptc_fields, resource, smooth

from siren_ext.data.decode import XMP_KEY
from siren_ext.data.extras import Extras
from siren_ext.data.images import Picture, read_picture
from siren_ext.data.iptc import read_fields
from siren_ext.data.lossy import format_of, write_lossy
from siren_ext.errors import ImageError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
)


def exif() -> bytes:
    block = Image.Exif()
    block[0x8298] = "the painter"
    block[0x8769] = {0x9003: "2024:01:02 03:04:05"}
    return block.tobytes()


def painting(**changes: object) -> Picture:
    plain = Picture(
        np.asarray(smooth()),
        exif=exif(),
        icc=SRGB,
        text={XMP_KEY: XMP, "Comment": COMMENT},
        extras=Extras(resource(0x0404, iptc_fields(IPTC)), (300, 150)),
    )
    return dataclasses.replace(plain, **changes)


def test_a_jpeg_keeps_everything(tmp_path: Path) -> None:
    source = painting()
    rgb, notes = write_lossy(source, tmp_path / "a.jpg", quality=95)
    back = read_picture(tmp_path / "a.jpg")
    assert (back.format, back.notes, notes) == ("JPEG", (), [])
    assert np.array_equal(back.rgb, rgb)
    assert 0 < np.abs(rgb.astype(int) - source.rgb).mean() < 2
    assert (back.icc, back.text) == (SRGB, source.text)
    assert (back.extras.iptc, back.extras.dpi) == (source.extras.iptc, (300, 150))
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # no subsampling
        assert image.getexif()[0x8298] == "the painter"
        assert image.getexif().get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_webp_keeps_everything(tmp_path: Path) -> None:
    source = painting()
    rgb, notes = write_lossy(source, tmp_path / "a.webp", quality=95)
    back = read_picture(tmp_path / "a.webp")
    assert (back.format, back.icc, notes) == ("WEBP", SRGB, [])
    assert np.array_equal(back.rgb, rgb)
    assert "<dc:creator><rdf:Seq><rdf:li>A. Painter</rdf:li>" in back.text[XMP_KEY]
    assert IPTC[116][0] in back.text[XMP_KEY]
    with Image.open(tmp_path / "a.webp") as image:
        found = image.getexif()
        assert found[0x8298] == "the painter"
        assert (found[282], found[283], found[296]) == (300, 150, 2)
        fields = found.get_ifd(0x8769)
        assert fields[0x9003] == "2024:01:02 03:04:05"
        assert fields[0x9286][8:].decode("utf-16-be") == COMMENT


def test_a_webp_keeps_transparency_and_can_be_exact(tmp_path: Path) -> None:
    whole = np.asarray(smooth(mode="RGBA"))
    source = Picture(whole[:, :, :3].copy(), whole[:, :, 3].copy())
    rgb, _ = write_lossy(source, tmp_path / "a.webp", quality=None)
    back = read_picture(tmp_path / "a.webp")
    assert np.array_equal(rgb, source.rgb)
    assert np.array_equal(back.alpha, source.alpha)
    assert back.extras.lossless
    write_lossy(source, tmp_path / "b.webp", quality=90)
    back = read_picture(tmp_path / "b.webp")
    assert np.array_equal(back.alpha, source.alpha)
    assert not back.extras.lossless


def test_a_better_quality_is_closer_and_larger(tmp_path: Path) -> None:
    for suffix in ("jpg", "webp"):
        path, errors, sizes = tmp_path / f"a.{suffix}", [], []
        for quality in (30, 70, 95):
            rgb, _ = write_lossy(Picture(np.asarray(smooth())), path, quality=quality)
            errors.append(np.abs(rgb.astype(int) - np.asarray(smooth())).mean())
            sizes.append(path.stat().st_size)
        assert errors == sorted(errors, reverse=True)
        assert sizes == sorted(sizes)


def test_what_a_jpeg_has_no_room_for_is_reported(tmp_path: Path) -> None:
    large = Image.Exif()
    large[0x8298], large[0x010E] = "the painter", "x" * 70_000
    large[0x8769] = {0x927C: b"y" * 66_000, 0x9003: "2024:01:02 03:04:05"}
    text = {XMP_KEY: "<x>" + "y" * 66_000, "workflow": "z" * 66_000, "prompt": "z" * 66_000}
    text |= {"Title": "Fox"}
    source = painting(exif=large.tobytes(), text=text)
    _, notes = write_lossy(source, tmp_path / "a.jpg", quality=90)
    assert notes == [
        "EXIF of more than 64 kB lost ImageDescription, MakerNote: JPEG has no room for it.",
        "XMP of more than 64 kB was dropped: JPEG has no room for it.",
        "The 2 texts 'workflow', 'prompt' were dropped: JPEG has no room for them.",
    ]
    back = read_picture(tmp_path / "a.jpg")
    kept = Image.Exif()
    kept.load(back.exif or b"")
    assert (kept[0x8298], kept.get_ifd(0x8769)) == ("the painter", {0x9003: "2024:01:02 03:04:05"})
    assert back.text == {"Comment": "Title: Fox"}
    assert read_fields(back.extras.iptc or b"") == IPTC


def test_texts_that_a_webp_has_no_place_for_are_reported(tmp_path: Path) -> None:
    source = painting(text={"parameters": "a fox", "Title": "Fox"})
    _, notes = write_lossy(source, tmp_path / "a.webp", quality=90)
    assert notes == ["Texts were dropped, because WebP has no place for them: Title, parameters."]


@pytest.mark.parametrize(
    ("chunks", "names"),
    [
        (((b"gAMA", struct.pack(">I", 45_455)),), ""),
        (((b"gAMA", struct.pack(">I", 100_000)),), "gAMA"),
        (((b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", bytes(32))), ""),
        (((b"cHRM", bytes(32)), (b"cICP", bytes(4))), "cHRM, cICP"),
    ],
)
def test_colour_that_would_look_different_is_reported(tmp_path: Path, chunks, names) -> None:
    source = painting(icc=None, extras=Extras(colour=chunks))
    for name in ("a.jpg", "a.webp"):
        _, notes = write_lossy(source, tmp_path / name, quality=90)
        assert [f"({names})" in note for note in notes] == [True] * bool(names)


@pytest.mark.parametrize(
    ("name", "quality", "changes", "words"),
    [
        ("a.png", 90, {}, "not a JPEG or WebP file"),
        ("a.jpg", None, {}, "not a JPEG or WebP file"),
        ("a.gif", 90, {}, r"expected a name ending in \.png, \.jpg or \.webp"),
        ("a.jpg", 101, {}, "The quality is 101; expected 1 to 100"),
        ("a.jpg", 90, {"alpha": np.zeros((40, 48), np.uint8)}, "can't store transparency"),
        (
            "a.webp",
            90,
            {"rgb": np.zeros((1, 16_384, 3), np.uint8)},
            "16384x1 pixels; WEBP files can have at most 16,383 per side",
        ),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, quality, changes, words) -> None:
    with pytest.raises(ImageError, match=words):
        write_lossy(painting(**changes), tmp_path / name, quality=quality)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "quality"), [("a.jpg", 1), ("a.webp", 1), ("a.webp", 95)])
def test_pure_noise_is_written_although_compression_changes_it_much(
    tmp_path, name, quality
) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (40, 48, 3), dtype=np.uint8) * 255
    rgb, notes = write_lossy(Picture(noise), tmp_path / name, quality=quality)
    assert (read_picture(tmp_path / name).size, notes) == ((48, 40), [])
    assert np.abs(rgb.astype(int) - noise).mean() > 48


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_a_file_that_holds_another_picture_is_refused(tmp_path, monkeypatch, name) -> None:
    save = Image.Image.save

    def other(image, *given, **options):
        save(Image.eval(image, lambda value: 255 - value), *given, **options)

    monkeypatch.setattr(Image.Image, "save", other)
    with pytest.raises(ImageError, match="was written but can't be read again"):
        write_lossy(painting(rgb=np.zeros((40, 48, 3), np.uint8)), tmp_path / name, quality=90)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_a_file_that_is_not_readable_with_its_metadata_loses_it(
    tmp_path, monkeypatch, name
) -> None:
    from siren_ext.data import lossy

    read = lossy._read_back
    monkeypatch.setattr(
        lossy, "_read_back", lambda picture, *rest: None if picture.icc else read(picture, *rest)
    )
    _, notes = write_lossy(painting(), tmp_path / name, quality=90)
    assert notes == ["All metadata was dropped, because the file could not be read with it."]
    assert read_picture(tmp_path / name).icc is None


def test_formats_by_suffix() -> None:
    assert [format_of(name) for name in ("a.JPG", "b.jpeg", "c.webp", "d.PNG")] == [
        "JPEG",
        "JPEG",
        "WEBP",
        "PNG",
    ]
