"""Reading and writing pictures: what is kept, what is refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps

from siren_ext.data.decode import XMP_KEY
from siren_ext.data.images import (
    Picture,
    crop_view,
    picture_size,
    quantise,
    read_picture,
    square_view,
    to_tensor,
    to_uint8,
    write_picture,
)
from siren_ext.errors import ImageError

RNG = np.random.default_rng(5)


COLOUR = RNG.integers(0, 256, (9, 13, 3), dtype=np.uint8)


ALPHA = RNG.integers(0, 256, (9, 13), dtype=np.uint8)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pixels(height: st.SearchStrategy[int], width: st.SearchStrategy[int], *tail: int):
    return st.tuples(height, width).flatmap(
        lambda hw: hnp.arrays(np.uint8, (*hw, *tail), elements=st.integers(0, 255))
    )


SIDE = st.integers(1, 12)


@given(pixels(SIDE, SIDE, 3))
@settings(max_examples=50, deadline=None)
def test_eight_bit_values_survive_the_tensor_round_trip(rgb):
    tensor = to_tensor(rgb)
    assert tensor.shape == (1, 3, *rgb.shape[:2])
    assert tensor.dtype == torch.float32
    assert np.array_equal(to_uint8(tensor), rgb)
    assert np.array_equal(to_uint8(tensor[0]), rgb)
    assert torch.equal(quantise(tensor), tensor)


def test_every_level_is_a_fixed_point_in_lower_precision_too():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(to_uint8(to_tensor(levels).double()), levels)
    assert np.array_equal(to_uint8(to_tensor(levels).half()), levels)


def test_out_of_range_values_are_clamped_and_halves_go_to_even():
    image = torch.tensor([-1.0, 2.0, 0.5 / 255, 1.5 / 255]).view(1, 1, 4).expand(3, 1, 4)
    assert to_uint8(image)[0, :, 0].tolist() == [0, 255, 0, 2]


@given(
    pixels(SIDE, SIDE, 4),
    st.booleans(),
    st.dictionaries(
        st.sampled_from(["Comment", "parameters", XMP_KEY]),
        st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=20),
        max_size=2,
    ),
)
@settings(max_examples=40, deadline=None)
def test_written_files_read_back_exactly(tmp_path_factory, whole, opaque, text):
    picture = Picture(
        np.ascontiguousarray(whole[:, :, :3]),
        None if opaque else np.ascontiguousarray(whole[:, :, 3]),
        icc=SRGB,
        text=text,
    )
    path = tmp_path_factory.mktemp("round") / "picture.png"
    write_picture(picture, path)
    back = read_picture(path)
    assert np.array_equal(back.rgb, picture.rgb)
    assert (back.alpha is None) == opaque
    assert opaque or np.array_equal(back.alpha, picture.alpha)
    assert (back.icc, back.text, back.notes) == (SRGB, text, ())
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]


def palette_with_transparency() -> Image.Image:
    image = Image.fromarray(COLOUR).quantize(8)
    image.info["transparency"] = 3
    return image


LOSSLESS = {
    "rgb.png": lambda: Image.fromarray(COLOUR),
    "rgb.bmp": lambda: Image.fromarray(COLOUR),
    "rgb.tiff": lambda: Image.fromarray(COLOUR),
    "rgba.png": lambda: Image.fromarray(np.dstack((COLOUR, ALPHA))),
    "grey.png": lambda: Image.fromarray(ALPHA),
    "grey_alpha.png": lambda: Image.fromarray(np.dstack((COLOUR, ALPHA))).convert("LA"),
    "bits.png": lambda: Image.fromarray(COLOUR).convert("1"),
    "palette.png": lambda: Image.fromarray(COLOUR).quantize(8),
    "palette.gif": lambda: Image.fromarray(COLOUR).quantize(8),
    "palette_clear.png": palette_with_transparency,
    "palette_alpha.tiff": lambda: Image.fromarray(ALPHA).convert("PA"),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_modes_and_formats_match_pillow(tmp_path, name):
    path = tmp_path / name
    try:
        LOSSLESS[name]().save(path)
    except (OSError, KeyError, ValueError):
        pytest.skip(f"this Pillow can't write {name}")
    picture = read_picture(path)
    with Image.open(path) as image:
        expected = np.array(image.convert("RGBA"))
    assert np.array_equal(picture.rgb, expected[:, :, :3])
    has_alpha = any(word in name for word in ("rgba", "alpha", "clear"))
    assert (picture.alpha is not None) == has_alpha
    if has_alpha:
        assert np.array_equal(picture.alpha, expected[:, :, 3])
    copy = tmp_path / "copy.png"
    write_picture(picture, copy)
    again = read_picture(copy)
    assert np.array_equal(again.rgb, picture.rgb)


def test_transparent_colour_of_an_rgb_png_becomes_alpha(tmp_path):
    path = tmp_path / "key.png"
    Image.fromarray(COLOUR).save(path, transparency=tuple(int(v) for v in COLOUR[2, 3]))
    picture = read_picture(path)
    assert np.array_equal(picture.rgb, COLOUR)
    assert picture.alpha is not None
    assert picture.alpha[2, 3] == 0
    assert (picture.alpha == 0).sum() == 1


def test_sixteen_bit_grey_is_reduced_with_a_note(tmp_path):
    deep = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    path = tmp_path / "deep.png"
    Image.fromarray(deep).save(path)
    picture = read_picture(path)
    assert np.array_equal(picture.rgb[:, :, 1], np.arange(256).reshape(16, 16))
    assert "16-bit" in picture.notes[0]


def test_deep_colour_is_told(tmp_path):
    rows = b"".join(b"\0" + bytes([10, 0, 20, 0, 30, 0] * 4) for _ in range(4))
    path = tmp_path / "deep.png"
    path.write_bytes(png_file(4, 4, zlib.compress(rows), depth=16))
    picture = read_picture(path)
    assert picture.rgb[0, 0].tolist() == [10, 20, 30]
    assert picture.notes == ("16 bits per channel were reduced to 8.",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-5.0, 0.0, 5.0], [0, 128, 255]),
        ([0, 7, 255], [0, 7, 255]),
    ],
)
def test_floating_point_grey_is_scaled(tmp_path, values, expected):
    path = tmp_path / "float.tiff"
    Image.fromarray(np.array([values], dtype=np.float32)).save(path)
    picture = read_picture(path)
    assert picture.rgb[0, :, 0].tolist() == expected
    assert picture.notes


def test_cmyk_becomes_rgb_with_a_note(tmp_path):
    path = tmp_path / "print.jpg"
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image.save(path, quality=95, icc_profile=b"\0" * 200)
    picture = read_picture(path)
    assert picture.rgb[4, 4, 0] > 200
    assert picture.rgb[4, 4, 1] < 60
    assert picture.icc is None
    assert any("CMYK" in note for note in picture.notes)


def test_an_rgb_profile_is_carried_and_values_stay_raw(tmp_path):
    path = tmp_path / "tagged.png"
    Image.fromarray(COLOUR).save(path, icc_profile=SRGB)
    picture = read_picture(path)
    assert picture.icc == SRGB
    assert np.array_equal(picture.rgb, COLOUR)


def test_a_grey_profile_is_dropped_with_a_note(tmp_path):
    path = tmp_path / "tagged.png"
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    Image.fromarray(ALPHA).save(path, icc_profile=grey)
    picture = read_picture(path)
    assert picture.icc is None
    assert "GRAY" in picture.notes[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg", "webp"])
def test_exif_orientation_is_applied_once(tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2024:01:02 03:04:05"}
    exif[0x8825] = {1: "N"}
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(COLOUR).save(path, exif=exif.tobytes(), **options)
    picture = read_picture(path)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(picture.rgb, expected)
    copy = tmp_path / "copy.png"
    write_picture(picture, copy)
    with Image.open(copy) as image:
        kept = image.getexif()
        assert kept.get(0x0112, 1) == 1
        assert kept[0x010F] == "Maker"
        assert 0x0111 not in kept
        assert np.array_equal(np.array(ImageOps.exif_transpose(image)), expected)
        if suffix != "tiff":  # Pillow writes TIFF sub-blocks only in later versions
            assert kept.get_ifd(0x8769)[0x9003] == "2024:01:02 03:04:05"
            assert kept.get_ifd(0x8825)[1] == "N"
    assert read_picture(copy).exif == picture.exif


def test_orientation_inside_xmp_is_reset(tmp_path):
    path = tmp_path / "xmp.png"
    text = {XMP_KEY: '<rdf:Description tiff:Orientation="6" dc:rights="mine"/>'}
    write_picture(Picture(COLOUR, text=text), path)
    picture = read_picture(path)
    assert picture.rgb.shape == (13, 9, 3)
    assert picture.text[XMP_KEY] == '<rdf:Description tiff:Orientation="1" dc:rights="mine"/>'
    copy = tmp_path / "copy.png"
    write_picture(picture, copy)
    assert np.array_equal(read_picture(copy).rgb, picture.rgb)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_malformed_exif_does_not_cost_the_image(tmp_path):
    path = tmp_path / "odd.png"
    Image.fromarray(COLOUR).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0")
    assert np.array_equal(read_picture(path).rgb, COLOUR)


def test_of_an_animation_the_first_frame_is_kept(tmp_path):
    path = tmp_path / "moving.gif"
    first, second = Image.new("RGB", (6, 6), (255, 0, 0)), Image.new("RGB", (6, 6), (0, 0, 255))
    first.save(path, save_all=True, append_images=[second])
    picture = read_picture(path)
    assert picture.rgb[0, 0].tolist() == [255, 0, 0]
    assert "first" in picture.notes[-1]


def png_file(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def rgb_profile(size: int) -> bytes:
    """An RGB profile of a given size: the standard one with a table behind it."""
    small = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table = np.random.default_rng(1).bytes(size - len(small))
    return struct.pack(">I", size) + small[4:] + table


@pytest.mark.parametrize(("size", "kept"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_a_profile_is_written_only_if_pillow_reads_it_again(tmp_path, size, kept):
    profile = rgb_profile(size)
    Image.new("RGB", (9, 7), (90, 80, 70)).save(tmp_path / "a.jpg", icc_profile=profile)
    source = read_picture(tmp_path / "a.jpg")
    assert source.icc == profile
    notes = write_picture(source, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.info.get("icc_profile") == (profile if kept else None)
    assert np.array_equal(read_picture(tmp_path / "b.png").rgb, source.rgb)
    assert [("colour profile of 1.0 MB was dropped" in note) for note in notes] == [True] * (
        not kept
    )


def test_a_png_whose_profile_pillow_refuses_is_read_without_it(tmp_path):
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (9, 7, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png", icc_profile=rgb_profile(1_600_000))
    with pytest.raises(ValueError, match=r"(?i)decompressed data too large"):
        Image.open(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.rgb, np.asarray(image))
    assert picture.icc is None
    assert picture.notes == ("A colour profile of more than 1 MB was dropped.",)
    assert picture_size(tmp_path / "a.png") == (7, 9)


def test_texts_that_are_too_large_together_are_dropped_largest_first(tmp_path):
    text = {"workflow": "w" * (33 << 20), "Artist": "A. Painter", "notes": "n" * (20 << 20)}
    notes = write_picture(Picture(np.zeros((4, 4, 3), np.uint8), text=text), tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").text == {
        "Artist": "A. Painter",
        "notes": "n" * (20 << 20),
    }
    assert notes == ("The text 'workflow' of 35 MB was dropped.",)
    many = {f"k{number}": "w" * (5 << 20) for number in range(10)}
    notes = write_picture(Picture(np.zeros((4, 4, 3), np.uint8), text=many), tmp_path / "a.png")
    assert notes == ("The 4 texts 'k0', 'k1', 'k2' and 1 more of 21 MB were dropped.",)
    assert list(read_picture(tmp_path / "a.png").text) == [f"k{number}" for number in range(4, 10)]


def test_a_file_that_is_not_readable_with_its_metadata_loses_it(tmp_path, monkeypatch):
    rgb = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    monkeypatch.setattr("siren_ext.data.images.fitting_profile", lambda icc, _: icc)
    notes = write_picture(Picture(rgb, icc=rgb_profile(1_600_000)), tmp_path / "a.png")
    # our own reader opens such a file, so only programs that use Pillow would fail
    with Image.open(tmp_path / "a.png") as image:
        assert "icc_profile" not in image.info
        assert np.array_equal(np.asarray(image), rgb)
    assert notes == ("All metadata was dropped, because the file could not be read with it.",)


def test_a_file_that_was_stored_wrongly_is_refused(tmp_path, monkeypatch):
    save = Image.Image.save

    def other(image, *given, **options):
        save(Image.eval(image, lambda value: value ^ 1), *given, **options)

    monkeypatch.setattr(Image.Image, "save", other)
    with pytest.raises(ImageError, match=r"a\.png was written but can't be read again"):
        write_picture(Picture(np.zeros((4, 4, 3), np.uint8)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_only_written_as_png(tmp_path):
    with pytest.raises(ImageError, match=r"\.png"):
        write_picture(Picture(COLOUR), tmp_path / "a.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match=r"a\.png can't be written"):
        write_picture(Picture(COLOUR), tmp_path / "file" / "a.png")


def test_wrong_shapes_are_named():
    with pytest.raises(ImageError, match="uint8"):
        to_tensor(np.zeros((4, 4), dtype=np.uint8))
    with pytest.raises(ImageError, match="expected 3 x H x W"):
        to_uint8(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("shape", [(40, 70), (20, 30), (100, 9)])
def test_square_view_keeps_flat_colour_and_range_and_passes_gradient(shape):
    flat = torch.full((2, 3, *shape), 0.3)
    assert torch.allclose(square_view(flat, 32), torch.full((2, 3, 32, 32), 0.3), atol=1e-6)
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(1))
    images.requires_grad_()
    view = square_view(images, 32)
    assert view.shape == (2, 3, 32, 32)
    assert view.min() >= 0
    assert view.max() <= 1
    view.sum().backward()
    assert images.grad.abs().sum() > 0


def test_square_view_is_antialiased_and_the_identity_at_its_own_size():
    stripes = torch.zeros(1, 3, 128, 128)
    stripes[..., ::2] = 1
    assert (square_view(stripes, 32)[..., 4:-4] - 0.5).abs().max() < 0.05
    assert torch.equal(square_view(stripes, 128), stripes)
    assert square_view(stripes.half(), 32).dtype == torch.float16


@pytest.mark.parametrize("shape", [(40, 70), (70, 40), (32, 32), (5, 200)])
def test_crop_view_is_the_central_square(shape):
    height, width = shape
    ramp = torch.linspace(0, 1, width).expand(1, 3, height, width)
    view = crop_view(ramp, 32)
    assert view.shape == (1, 3, 32, 32)
    assert float(view.mean()) == pytest.approx(0.5, abs=0.02)
    spread = float(view[0, 0, 16].max() - view[0, 0, 16].min())
    assert spread == pytest.approx(min(1, height / width), abs=0.06)
