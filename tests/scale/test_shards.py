"""Where shards are found, and where images are meant instead."""

from __future__ import annotations

import pytest
from support.noise_files import noise

from siren_ext.errors import DatasetError
from siren_ext.scale.shards import shards_at, suffix_by_content

pytest.importorskip("fsspec", reason="needs the extra 'cluster'")


def test_shards_are_found_in_natural_order(tmp_path) -> None:
    folder = tmp_path / "in"
    for name in ("10.tar", "9.tar", "sub/a.parquet", ".hidden/b.tar", "._9.tar", "readme.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = shards_at(folder)
    assert found is not None
    assert list(found.found) == ["9.tar", "10.tar", "sub/a.parquet"]
    assert (found.place, found.name, found.single) == (str(folder), "in", False)
    one = shards_at(f"file://{folder}/9.tar")
    assert one is not None
    assert (list(one.found), one.name, one.single) == (["9.tar"], "9.tar", True)
    assert one.found["9.tar"] == found.found["9.tar"]
    noise(folder / "deep" / "image.png")
    assert shards_at(folder) is None  # the shards are not meant
    assert shards_at(tmp_path / "none") is None
    with pytest.raises(DatasetError, match=r"There is no x\.tar in "):
        shards_at(tmp_path / "x.tar")
    (tmp_path / "y.tar").mkdir()
    assert shards_at(tmp_path / "y.tar") is None  # a folder by an odd name


def test_suffixes_come_from_the_first_bytes() -> None:
    assert suffix_by_content(b"\xff\xd8\xff\xe0") == ".jpg"
    assert suffix_by_content(b"no image") == ""
