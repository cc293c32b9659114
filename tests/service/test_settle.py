"""Which files are complete, and which names are temporary."""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from siren_ext.service.settle import Settling, is_temporary, stamps


@pytest.mark.parametrize(
    "name",
    [
        *(".a.png.x7Kq", "sub/.a.png", ".part-1-2-a.png", "a.part.png", "a.png.crdownload"),
        *("a.png.filepart", "a.png~", "~a.png", "~$a.png", "a.tmp.jpg", "a.JPG.PART"),
        *("Thumbs.db", ".thumbnails/a.png", "#recycle/a.png"),
    ],
)
def test_temporary_names(name: str) -> None:
    assert is_temporary(PurePosixPath(name))


@pytest.mark.parametrize("name", ["a.png", "part.png", "a.part1.png", "tmp/a.jpg", "a.b.webp"])
def test_other_names(name: str) -> None:
    assert not is_temporary(PurePosixPath(name))


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_a_file_is_complete_once_it_stays_the_same(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / "sub" / "a.png"
    settling = Settling(5, clock=clock, now=lambda: 0.0)
    file.parent.mkdir()
    file.write_bytes(b"1")
    assert settling.complete(stamps(tmp_path)) == {}
    clock.seconds += 4
    file.write_bytes(b"12")
    assert settling.complete(stamps(tmp_path)) == {}
    clock.seconds += 4
    assert settling.complete(stamps(tmp_path)) == {}
    clock.seconds += 1
    assert list(settling.complete(stamps(tmp_path))) == [file]
    # the same size and time, but another file
    copy = tmp_path / "copy"
    shutil.copy2(file, copy)
    copy.replace(file)
    assert settling.complete(stamps(tmp_path)) == {}


def test_what_was_there_before_is_complete_at_once_if_old(tmp_path: Path) -> None:
    for name, changed in (("old.png", 100), ("new.png", 998)):
        (tmp_path / name).write_bytes(b"1")
        os.utime(tmp_path / name, (changed, changed))
    settling = Settling(5, clock=Clock(), now=lambda: 1000.0)
    assert list(settling.complete(stamps(tmp_path))) == [tmp_path / "old.png"]
    # later a copy that keeps its old time may still be being written
    (tmp_path / "late.png").write_bytes(b"1")
    os.utime(tmp_path / "late.png", (100, 100))
    assert list(settling.complete(stamps(tmp_path))) == [tmp_path / "old.png"]


def test_a_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        stamps(tmp_path / "none")
