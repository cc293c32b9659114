"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.errors import BusyError
from siren_ext.files import (
    atomic,
    is_file,
    is_folder,
    is_present,
    locked,
    no_more_files,
    real_path,
    sha256_file,
    sibling,
    write_json,
)


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


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_strict_umask_counts(tmp_path: Path) -> None:
    """Whoever works with ``umask 077`` wants no file that others can read."""
    run = "from siren_ext.files import write_json; from pathlib import Path; "
    run += "write_json(Path('a.json'), {}); write_json(Path('b.json'), {}, 0o600)"
    for mask, mode in ((0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o644)):
        subprocess.run([sys.executable, "-c", run], cwd=tmp_path, umask=mask, check=True)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode
        assert stat.S_IMODE((tmp_path / "b.json").stat().st_mode) == 0o600


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


def test_a_share_that_refuses_chmod_still_gets_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "chmod", refuse)
    with atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_long_name_with_a_dot_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"a.{'b' * 250}"
    with atomic(path) as temporary:
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


def test_paths_that_the_system_can_not_look_up_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / ("n" * 300), tmp_path / "file" / "inner", tmp_path / "loop" / "inner"):
        assert not is_file(path)
        assert not is_folder(path)
        assert not is_present(path)
    assert is_file(tmp_path / "file")
    assert is_folder(tmp_path)
    assert is_present(tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        real_path(tmp_path / "loop")
    assert caught.value.errno == errno.ELOOP


def test_a_folder_without_a_name_has_a_place_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert sibling(Path("out"), ".json") == Path("out.json")
    assert sibling(Path("../x/out.d"), ".json") == Path("../x/out.d.json")
    assert sibling(Path(), ".json") == tmp_path / "here.json"
    assert sibling(Path(".."), ".json") == tmp_path.parent / f"{tmp_path.name}.json"


@pytest.mark.parametrize("name", ["s" * 250 + ".json", "猫" * 85, "é" * 127])
def test_a_file_beside_one_with_the_longest_name_has_a_shorter_one(
    tmp_path: Path, name: str
) -> None:
    places = {sibling(tmp_path / name, end, start) for end in (".state", ".lock") for start in "._"}
    assert len(places) == 4
    for place in places:
        place.write_text("x")
        assert place.name.startswith((".", "_"))
    assert sibling(tmp_path / (name[:-1] + "x"), ".state") != sibling(tmp_path / name, ".state")
    with locked(tmp_path / name), pytest.raises(BusyError), locked(tmp_path / name):
        pass


def test_a_place_that_refuses_locks_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "a.json"):
        assert list(tmp_path.iterdir()) == []
    (tmp_path / ".a.json.lock").touch()  # of a run that has a lock
    with locked(tmp_path / "a.json"):
        assert (tmp_path / ".a.json.lock").exists()


def test_a_full_disk_is_found_among_the_causes() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    outer = ValueError("can't be written")
    outer.__cause__ = full
    assert no_more_files(outer) is full
    assert no_more_files(PermissionError(errno.EACCES, "Permission denied")) is None
