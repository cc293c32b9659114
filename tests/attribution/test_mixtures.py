"""Training sets with a share of generated images."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.toy_source import write_scenes

from siren_ext.attribution.mixtures import PROVENANCE, build_mixture, read_mixture
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file


@pytest.mark.parametrize(("share", "made"), [(0, 0), (0.3, 3), (0.5, 5), (0.7, 7), (1, 10)])
def test_a_mixture_has_exactly_its_share(tmp_path: Path, share: float, made: int) -> None:
    generated = write_scenes(tmp_path / "g", range(10))
    real = write_scenes(tmp_path / "r", range(100, 115))
    mixed = build_mixture(generated, real, 10, share, tmp_path / "mixed")
    rows = read_mixture(tmp_path / "mixed")
    assert len(mixed) == len(rows) == 10
    assert [row["origin"] for row in rows].count("generated") == made
    captions = {item.name: item.caption for images in (generated, real) for item in images.items}
    hashes = {sha256_file(item.path) for item in (*generated.items, *real.items)}
    for row, item in zip(rows, mixed.items, strict=True):
        assert row["file"] == item.name
        assert item.caption == row["caption"] == captions[row["name"]]
        assert row["sha256"] in hashes
    assert len({row["sha256"] for row in rows}) == 10


def test_a_finished_mixture_is_kept_and_another_one_refused(tmp_path: Path) -> None:
    generated = write_scenes(tmp_path / "g", range(6))
    real = write_scenes(tmp_path / "r", range(100, 106))
    build_mixture(generated, real, 4, 0.5, tmp_path / "mixed", seed=1)
    image = tmp_path / "mixed" / "00000.png"
    before = image.stat().st_mtime_ns
    again = build_mixture(generated, real, 4, 0.5, tmp_path / "mixed", seed=1)
    assert len(again) == 4
    assert image.stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match="contains another mixture"):
        build_mixture(generated, real, 4, 0.5, tmp_path / "mixed", seed=2)
    (tmp_path / "mixed" / PROVENANCE).write_text("{}")
    with pytest.raises(DatasetError, match="is not a list of images"):
        read_mixture(tmp_path / "mixed")


def test_too_few_images_and_odd_shares_are_refused(tmp_path: Path) -> None:
    images = write_scenes(tmp_path / "g", range(3))
    with pytest.raises(DatasetError, match="There are 3 generated images; the mixture needs 5"):
        build_mixture(images, images, 5, 1, tmp_path / "mixed")
    with pytest.raises(DatasetError, match="with a share of 2 is not possible"):
        build_mixture(images, images, 1, 2, tmp_path / "mixed")
