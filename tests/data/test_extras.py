"""IPTC, resolution, comments, colour and credentials of a file: kept in a PNG, or reported."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from support.metadata_files import (
    COMMENT,
    IPTC,
    SRGB_GAMMA,
    iptc_fields,
    jpeg,
    painters_photo,
    png_with,
    resource,
    segment,
    smooth,
    webp_with,
)

from siren_ext.data.decode import XMP_KEY
from siren_ext.data.extras import without_pictures
from siren_ext.data.images import Picture, read_picture, write_picture
from siren_ext.data.iptc import read_fields
from siren_ext.data.lossy import write_lossy

C2PA = (
    "Content credentials (C2PA) were dropped: they are valid only for the unchanged original. Coat "
    "first, then sign."
)


def copied(path: Path) -> Picture:
    """A picture after a round trip through our PNG."""
    copy = path.with_name("copy.png")
    assert write_picture(read_picture(path), copy) == ()
    return read_picture(copy)


def fields(picture: Picture) -> dict[int, list[str]]:
    assert picture.extras.iptc is not None
    return read_fields(picture.extras.iptc)


def test_a_photos_author_and_comment_are_kept(tmp_path: Path) -> None:
    picture = copied(painters_photo(tmp_path / "photo.jpg"))
    assert fields(picture) == IPTC
    assert picture.text == {"Comment": COMMENT}
    assert picture.notes == ()
    with Image.open(tmp_path / "copy.png") as image:
        assert image.text["Comment"] == COMMENT
        assert image.text["Raw profile type iptc"].startswith("\niptc\n")


def test_iptc_that_is_split_over_segments_is_joined(tmp_path: Path) -> None:
    long = {120: ["x" * 30_000], 105: ["y" * 30_000], 40: ["z" * 20_000]}
    block = resource(0x0404, iptc_fields(long))
    head = b"Photoshop 3.0\0"
    parts = [segment(0xED, head + block[:60_000]), segment(0xED, head + block[60_000:])]
    assert fields(copied(jpeg(tmp_path / "long.jpg", *parts))) == long


def test_iptc_of_old_programs_and_alone_is_kept(tmp_path: Path) -> None:
    block = resource(0x0404, iptc_fields(IPTC))
    heads = {"old.jpg": b"Adobe_Photoshop2.5:\0\0" + block, "bare.jpg": iptc_fields(IPTC)}
    for name, content in heads.items():
        assert fields(copied(jpeg(tmp_path / name, segment(0xED, content)))) == IPTC
    unknown = copied(jpeg(tmp_path / "odd.jpg", segment(0xED, b"something")))
    assert unknown.extras.iptc is None
    read = read_picture(tmp_path / "odd.jpg")
    assert "Data from other programs were dropped: JPEG segments APP13." in read.notes


def exif_of(**texts: bytes) -> bytes:
    """An EXIF block with texts as they are, which Pillow would not write."""
    tags = {"description": 0x010E, "artist": 0x013B, "rights": 0x8298}
    at, table, values = 8 + 2 + 12 * len(texts) + 4, b"", b""
    for name in sorted(texts, key=lambda one: tags[one]):
        text = texts[name] + b"\0"
        table += struct.pack("<HHII", tags[name], 2, len(text), at + len(values))
        values += text + b"\0" * (len(text) % 2)
    head = b"II*\0" + struct.pack("<IH", 8, len(texts))
    return b"Exif\0\0" + head + table + bytes(4) + values


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_texts_in_exif_keep_their_bytes(tmp_path: Path, encoding: str, suffix: str) -> None:
    rights, artist = "© 2024 Jörg Müller".encode(encoding), "Jörg aus Köln".encode(encoding)
    source = tmp_path / f"photo{suffix}"
    smooth().save(source, exif=exif_of(rights=rights, artist=artist))
    picture = copied(source)
    assert rights in (picture.exif or b"")
    assert artist in (picture.exif or b"")
    for name in ("copy.jpg", "copy.webp"):
        write_lossy(
            dataclasses.replace(picture, text={"Comment": "a"}), tmp_path / name, quality=90
        )
        with Image.open(tmp_path / name) as image:
            assert rights in image.info["exif"]


def test_iptc_of_tiff_and_its_photoshop_tag(tmp_path: Path) -> None:
    smooth().save(tmp_path / "fields.tif", tiffinfo={33723: iptc_fields(IPTC)})
    assert fields(copied(tmp_path / "fields.tif")) == IPTC
    smooth().save(tmp_path / "whole.tif", tiffinfo={34377: resource(0x0404, iptc_fields(IPTC))})
    assert fields(copied(tmp_path / "whole.tif")) == IPTC


def test_several_comments_and_those_of_a_gif(tmp_path: Path) -> None:
    two = jpeg(tmp_path / "two.jpg", segment(0xFE, b"one"), segment(0xFE, "zwölf".encode("cp1252")))
    assert copied(two).text == {"Comment": "one\nzwölf"}
    smooth().convert("P").save(tmp_path / "old.gif", comment=b"drawn by hand")
    assert copied(tmp_path / "old.gif").text == {"Comment": "drawn by hand"}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp"])
def test_the_resolution_is_kept(tmp_path: Path, name: str) -> None:
    smooth().save(tmp_path / name, dpi=(300, 150))
    picture = copied(tmp_path / name)
    assert picture.extras.dpi == pytest.approx((300, 150), abs=0.02)


def test_the_resolution_of_a_turned_photo_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth().save(tmp_path / "a.jpg", dpi=(300, 150), exif=exif.tobytes())
    assert copied(tmp_path / "a.jpg").extras.dpi == pytest.approx((150, 300), abs=0.02)


def test_a_resolution_that_no_file_gives_is_not_made_up(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298] = "mine"
    smooth().save(tmp_path / "a.jpg", exif=exif.tobytes())
    smooth().save(tmp_path / "b.png")
    smooth().save(tmp_path / "c.tif")
    names = ("a.jpg", "b.png", "c.tif")
    assert [copied(tmp_path / name).extras.dpi for name in names] == [None] * 3


def test_chunks_on_colour_are_kept(tmp_path: Path) -> None:
    chunks = (
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"cHRM", bytes(32)),
        (b"cICP", bytes([9, 16, 0, 1])),
        (b"cLLI", bytes(8)),
    )
    picture = copied(png_with(tmp_path / "hdr.png", *chunks))
    assert picture.extras.colour == chunks
    with Image.open(tmp_path / "copy.png") as image:
        image.load()
        assert image.info["gamma"] == 1.0


def test_a_profile_and_an_srgb_chunk_are_not_written_together(tmp_path: Path) -> None:
    source = png_with(tmp_path / "a.png", (b"sRGB", b"\0"), (b"gAMA", SRGB_GAMMA))
    assert copied(source).extras.colour == ((b"sRGB", b"\0"), (b"gAMA", SRGB_GAMMA))


def test_content_credentials_are_reported(tmp_path: Path) -> None:
    files = [
        jpeg(tmp_path / "a.jpg", segment(0xEB, b"JP\0\1\0\0\0\1jumb....c2pa")),
        png_with(tmp_path / "a.png", (b"caBX", b"jumb c2pa")),
        webp_with(tmp_path / "a.webp", b"C2PA", b"jumb c2pa"),
    ]
    assert [read_picture(path).notes for path in files] == [(C2PA,)] * 3


def test_data_of_other_programs_are_reported(tmp_path: Path) -> None:
    several = [segment(0xE0 + number, b"camera") for number in (7, 3, 12, 3)]
    assert read_picture(jpeg(tmp_path / "a.jpg", *several)).notes == (
        "Data from other programs were dropped: JPEG segments APP3, APP7.",
    )
    layers = png_with(tmp_path / "a.png", (b"prVW", b"layers"), (b"tIME", bytes(7)))
    assert read_picture(layers).notes == (
        "Data from other programs were dropped: PNG chunks prVW.",
    )


def test_the_video_of_a_motion_photo_is_reported(tmp_path: Path) -> None:
    photo = painters_photo(tmp_path / "a.jpg")
    whole = photo.read_bytes()
    for fill in (b"", b"\0" * 3000, b"\r\n"):
        photo.write_bytes(whole + fill)
        assert read_picture(photo).notes == ()
    photo.write_bytes(whole + b"\0\0\0\x18ftypmp42" + b"\x01" * 100_000)
    (note,) = read_picture(photo).notes
    assert note == "Data after the end of the image, such as a motion photo's video, was dropped."


def test_extended_xmp_is_reported_and_previews_are_left_out(tmp_path: Path) -> None:
    extension = b"http://ns.adobe.com/xmp/extension/\0" + bytes(60)
    path = jpeg(tmp_path / "depth.jpg", segment(0xE1, extension))
    assert read_picture(path).notes == ("Extended XMP, such as depth maps, was dropped.",)
    packet = "<a/><xmp:Thumbnails><rdf:Alt>the clean image</rdf:Alt></xmp:Thumbnails><b/>"
    head = b"http://ns.adobe.com/xap/1.0/\0"
    path = jpeg(tmp_path / "preview.jpg", segment(0xE1, head + packet.encode()))
    assert read_picture(path).text == {XMP_KEY: "<a/><b/>"}


def test_pictures_in_xmp_are_left_out() -> None:
    kept = '<rdf:Description dc:rights="mine" GImage:Mime="image/jpeg"/>'
    value = kept.replace(" GImage:Mime", ' GImage:Data="QUJD" GImage:Mime')
    inner = "<GDepth:Data xml:lang='x'>QUJD</GDepth:Data><xap:Thumbnails>a</xap:Thumbnails>"
    assert without_pictures(value) == kept
    assert without_pictures(f"{inner}{kept}{inner}") == kept
    for open_ended in ("<xmp:Thumbnails>" * 100_000, "</xmp:Thumbnails>" + "<xmp:Thumbnails>" * 9):
        assert without_pictures(open_ended) == open_ended
    assert without_pictures("<xmp:Thumbnails>" * 100_000 + "</xmp:Thumbnails>") == ""


def test_malformed_metadata_does_not_cost_the_image(tmp_path: Path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise struct.error("cut")

    monkeypatch.setattr("siren_ext.data.extras._png_chunks", broken)
    smooth().save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").notes == (
        "Malformed metadata other than EXIF were dropped.",
    )


def test_xmp_of_jpeg_and_tiff_is_kept_and_turned(tmp_path: Path) -> None:
    packet = b'<rdf:Description tiff:Orientation="6" dc:rights="mine"/>'
    jpeg(tmp_path / "a.jpg", segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    smooth().save(tmp_path / "a.tif", tiffinfo={700: packet})
    # newer Pillow removes the orientation of a TIFF that it turned
    expected = {"a.jpg": ('tiff:Orientation="1" ',), "a.tif": ('tiff:Orientation="1" ', " ", "")}
    for name, ways in expected.items():
        text = copied(tmp_path / name).text
        assert text in [{XMP_KEY: f'<rdf:Description {way}dc:rights="mine"/>'} for way in ways]


def raw(kind: str, content: bytes) -> tuple[str, str]:
    """A PNG text as ImageMagick writes it."""
    return f"Raw profile type {kind}", f"\n{kind}\n{len(content):8d}\n{content.hex()}\n"


def test_raw_profiles_of_a_png_keep_no_preview_and_no_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    preview = b"\xff\xd8\xff preview"
    xmp = b"<x:xmpmeta><xmp:Thumbnails>abc</xmp:Thumbnails><dc:rights>mine</dc:rights></x:xmpmeta>"
    pixels = np.zeros((4, 6, 3), np.uint8)
    texts = [raw("exif", exif.tobytes() + preview), raw("xmp", xmp), raw("APP1", preview)]
    written = PngInfo()
    for text in [*texts, ("Title", "kept")]:
        written.add_text(*text)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=written)
    picture = copied(tmp_path / "a.png")
    assert picture.size == (4, 6), "turned once"
    assert picture.exif is not None
    assert b"Maker" in picture.exif
    assert preview not in picture.exif
    kept = "<x:xmpmeta><dc:rights>mine</dc:rights></x:xmpmeta>"
    assert picture.text == {"Title": "kept", XMP_KEY: kept}
    notes = read_picture(tmp_path / "a.png").notes
    assert notes == ("Data from other programs were dropped: raw profiles app1.",)


def test_a_preview_in_the_cameras_own_exif_is_left_out(tmp_path: Path) -> None:
    preview = tmp_path / "preview.jpg"
    smooth().save(preview)
    exif = Image.Exif()
    exif[0x8769] = {0x927C: b"Maker\0" + preview.read_bytes(), 0x9003: "2024:01:02 03:04:05"}
    path, plain = tmp_path / "photo.png", tmp_path / "plain.png"
    smooth().save(path, exif=exif.tobytes())
    picture = read_picture(path)
    assert picture.notes == (
        (
            "The camera maker's own EXIF data were dropped, because they contain a preview of the "
            "image."
        ),
    )
    assert picture.exif is not None
    assert b"\xff\xd8\xff" not in picture.exif
    assert b"2024:01:02 03:04:05" in picture.exif
    exif[0x8769] = {0x927C: b"Maker\0settings"}
    smooth().save(plain, exif=exif.tobytes())
    assert b"Maker\0settings" in (read_picture(plain).exif or b"")
