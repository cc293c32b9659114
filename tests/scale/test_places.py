"""URLs, and files of a place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from siren_ext.errors import DatasetError, MissingExtraError
from siren_ext.scale.places import Place, url_of


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/photos/", "s3://bucket/photos"),
        (Path("s3://bucket/photos"), "s3://bucket/photos"),
        ("file:///tmp/x", "file:///tmp/x"),
        (Path("file:///tmp/x"), "file:///tmp/x"),
        ("C:/photos", None),
        ("photos", None),
        ("/photos: new", None),
    ],
)
def test_urls_are_told_from_paths(given, url) -> None:
    assert url_of(given) == url


def test_without_fsspec_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"siren-ext\[cluster\]"):
        Place(str(tmp_path))


def test_files_come_and_go(tmp_path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra 'cluster'")
    place, file = Place(f"file://{tmp_path}/place"), tmp_path / "a"
    assert place.files() == {}
    file.write_bytes(b"one")
    place.send(file, "sub/x.txt")
    first = place.files()
    assert first.keys() == {"sub/x.txt"}
    assert first["sub/x.txt"].size == 3
    assert place.read("sub/x.txt") == b"one"
    place.fetch("sub/x.txt", tmp_path / "new" / "b")
    assert (tmp_path / "new" / "b").read_bytes() == b"one"
    file.write_bytes(b"three")
    place.send(file, "sub/x.txt")
    assert place.files()["sub/x.txt"].stamp != first["sub/x.txt"].stamp
    place.delete("sub/x.txt")
    with pytest.raises(DatasetError, match=r"can't give sub/x\.txt.*resume"):
        place.read("sub/x.txt")
    assert Place(str(tmp_path / "place" / "sub")).inside(place)
    assert not Place(str(tmp_path / "place2")).inside(place)
    with pytest.raises(DatasetError, match="nonsense://a can't be used"):
        Place("nonsense://a")
