"""The bundled sample set is complete, small, readable and licensed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from siren_ext.samples import build
from siren_ext.samples.folder import sample_folder, sample_set

IMAGES = sorted(sample_folder().glob("*.png"))


def test_count_and_size():
    assert 60 <= len(IMAGES) <= 120
    assert len(IMAGES) == len(build.SUBJECTS)
    package = sample_folder().parent
    files = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(path.stat().st_size for path in files) <= 3_000_000


def test_pictures_are_plain_rgb_without_clipped_background():
    ground = build.background().astype(int)
    for path in IMAGES:
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (256, 256)), path.name
            pixels = np.asarray(image).astype(int)
        bare = np.abs(pixels - ground).max(-1) == 0
        # a background that is visible, an icon that fills a fair part, and little pure white
        assert 0.05 < bare.mean() < 0.85, path.name
        assert (pixels.min(-1) >= 253).mean() < 0.02, path.name


def test_all_pictures_differ():
    small = {path.name: Image.open(path).resize((16, 16)).tobytes() for path in IMAGES}
    assert len(set(small.values())) == len(IMAGES)


def test_every_picture_has_its_own_caption():
    captions = [path.with_suffix(".txt").read_text(encoding="utf-8") for path in IMAGES]
    assert len(set(captions)) == len(IMAGES)
    for path, caption in zip(IMAGES, captions, strict=True):
        assert caption.startswith("a 3d icon of ")
        assert caption.strip() == caption.removesuffix("\n")
        assert path.stem.replace("-", " ") in caption


def test_texts_belong_to_pictures():
    texts = {path.stem for path in sample_folder().glob("*.txt")}
    assert texts == {path.stem for path in IMAGES}


def test_licence_and_notice():
    package = sample_folder().parent
    licence = (package / "LICENSE").read_text(encoding="utf-8")
    notice = (package / "NOTICE.md").read_text(encoding="utf-8")
    assert "Permission is hereby granted, free of charge" in licence
    for holder in ("Microsoft Corporation", "LobeHub"):
        assert holder in licence
        assert holder in notice


def test_sample_set_is_a_data_set_with_captions():
    data = sample_set()
    assert len(data) == len(IMAGES)
    assert all(caption.startswith("a 3d icon of ") for caption in data.captions())
    first = next(iter(data.tensors(32)))
    assert first.shape == (1, 3, 32, 32)
