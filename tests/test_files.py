"""Files are whole or absent."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.files import atomic, sha256_file, write_json


def test_atomic_makes_folders_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    with atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        temporary.write_text("done")
        assert not path.exists()
    assert path.read_text() == "done"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_atomic_files_are_readable_by_others(tmp_path: Path) -> None:
    with atomic(tmp_path / "a") as temporary:
        temporary.write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_json_is_strict_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"name": "Füchse", "score": 0.5})
    text = path.read_text(encoding="utf-8")
    assert "Füchse" in text
    assert json.loads(text) == {"name": "Füchse", "score": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert json.loads(path.read_text(encoding="utf-8"))["score"] == 0.5


@given(st.binary(max_size=4096))
def test_hash_is_that_of_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("hash") / "a.bin"
    path.write_bytes(content)
    assert sha256_file(path) == hashlib.sha256(content).hexdigest()
