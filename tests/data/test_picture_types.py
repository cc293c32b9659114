"""Types by the first bytes, and pictures that only plug-ins of Pillow read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from siren_ext.data.dataset import ImageSet
from siren_ext.data.image_files import PLUGINS, image_suffixes, readable_formats
from siren_ext.data.images import read_picture
from siren_ext.data.picture_types import picture_type, type_by_content, why_unread


def box(brand: bytes, *compatible: bytes) -> bytes:
    size = 16 + 4 * len(compatible)
    return size.to_bytes(4, "big") + b"ftyp" + brand + b"\0\0\0\0" + b"".join(compatible)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (box(b"heic", b"mif1"), "HEIF"),
        (box(b"mif1", b"heic"), "HEIF"),
        (box(b"mif1", b"avif", b"miaf"), "AVIF"),
        (box(b"avif"), "AVIF"),
        (box(b"crx ", b"isom"), "RAW"),
        (box(b"isom", b"mp42"), None),
        (box(b"qt  "), None),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "BMP"),
        (b"BMW is a car, not a picture", None),
        (b"8BPS\0\1", "PSD"),
        (b"", None),
        (b"\xff\xd8", None),
    ],
)
def test_types_by_content(head: bytes, kind: str | None) -> None:
    assert type_by_content(head) == kind


@given(st.binary(max_size=64), st.sampled_from(["", ".png", ".heic", ".nef", ".kra", ".doc"]))
def test_any_bytes_have_a_type_with_advice_or_none(head: bytes, suffix: str) -> None:
    kind = picture_type(suffix, head)
    if kind is not None:
        assert "files can't be read here; " in why_unread(kind)
    elif suffix:
        assert suffix == ".doc"


@pytest.mark.parametrize(
    ("kind", "suffix"), [("HEIF", ".heic"), ("AVIF", ".avif"), ("JXL", ".jxl")]
)
def test_pictures_of_plug_ins_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    if kind not in readable_formats():
        pytest.skip(f"neither Pillow nor {PLUGINS[kind]} reads it here")
    rough = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize((96, 72), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / f"a{suffix}", exif=exif.tobytes())
    (tmp_path / "b.png").write_bytes((tmp_path / f"a{suffix}").read_bytes())
    data = ImageSet.open(tmp_path).checked()
    assert [item.name for item in data.items] == [f"a{suffix}", "b.png"]
    assert data.problems == ()
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270), dtype=float)
    for item in data.items:
        picture = read_picture(item.path)
        assert picture.size == (72, 96)
        assert np.abs(picture.rgb - turned).mean() < 8


def test_suffixes_of_commitments_do_not_depend_on_plug_ins() -> None:
    assert not {".heic", ".heif", ".jxl"} & image_suffixes()
