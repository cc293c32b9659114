"""Uploads as lists of files that can be read, without where they came from."""

from __future__ import annotations

import random
import struct
import time
import zipfile
from pathlib import Path

import pytest

from siren_ext.errors import ImageError
from siren_ext.panels.archives import opened_archive, single_files
from siren_ext.panels.host import UploadLimits


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    given = []
    for folder in ("x", "y"):
        for name in ("a.png", "a.txt"):
            given.append(tmp_path / folder / name)
            given[-1].parent.mkdir(exist_ok=True)
            given[-1].write_text(folder)
    found = {}
    for member in single_files(given):
        with member.open() as stream:
            found[str(member.place)] = stream.read()
    assert found == {"a.png": b"x", "1/a.png": b"y", "a.txt": b"x", "1/a.txt": b"y"}
    # whose caption the only one is, is not known
    places = [str(member.place) for member in single_files([given[0], given[2], given[1]])]
    assert places == ["a.png", "1/a.png", "unclear 0/a.txt"]


def test_the_files_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/a.png", "picture")
    with opened_archive(path, UploadLimits()) as members:
        (member,) = members
        assert str(member.place) == "folder/a.png"
        with member.open() as stream:
            assert stream.read() == b"picture"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(11):
            archive.writestr(f"{number}.png", "")
    few = UploadLimits(files=1)
    with pytest.raises(ImageError, match="has 11 entries; at most 10"), opened_archive(path, few):
        pytest.fail("too many files were accepted")
    path.write_bytes(b"no archive")
    with pytest.raises(ImageError, match="ordinary ZIP archive"), opened_archive(path, few):
        pytest.fail("a damaged archive was opened")


@pytest.mark.parametrize("large", [False, True])
def test_too_many_entries_are_refused_before_they_are_read(tmp_path, monkeypatch, large) -> None:
    """The library makes an object of each entry, whatever number the archive states."""
    entry = b"PK\x01\x02" + b"\0" * 24 + struct.pack("<HHHHHII", 1, 0, 0, 0, 0, 0, 0) + b"a"
    directory = entry * 11
    stated, size = (0xFFFF, 0xFFFFFFFF) if large else (1, len(directory))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, stated, stated, size, 0, 3) + b"bye"
    if large:
        facts = (44, 45, 45, 0, 0, 1, 1, len(directory), 0)
        end = b"PK\x06\x07" + struct.pack("<LQL", 0, len(directory), 1) + end
        end = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", *facts) + end
    path = tmp_path / "a.zip"
    path.write_bytes((b"" if large else b"MZ") + directory + end)
    with opened_archive(path, UploadLimits(files=2)) as members:
        assert len(members) == 11
    monkeypatch.setattr(zipfile, "ZipFile", None)
    few = UploadLimits(files=1)
    with pytest.raises(ImageError, match="has 11 entries; at most 10"), opened_archive(path, few):
        pass


@pytest.mark.parametrize(
    ("codec", "names"),
    [
        ("utf-8", ["10_\u732b/\xe9.png", "10_\u732b/\xe9.txt"]),  # macOS
        ("cp932", ["10_\u732b/\u6771\u4eac.png", "10_\u732b/\u8868.txt"]),  # has a backslash
        ("cp866", ["5_\u043a\u043e\u0442/1.png", "\u0434\u0435\u0432\u0443\u0448\u043a\u0430.png"]),
        ("cp850", ["M\xe4dchen/\xfcber.png", "sch\xf6n.png"]),
        ("gb18030", ["\u5973\u5b69/\u732b.png", "\u767d\u53d1.png"]),
    ],
)
def test_names_without_the_flag_for_utf_8(tmp_path: Path, codec: str, names: list[str]) -> None:
    class Entry(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
            return self.filename.encode(codec), 0

    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(Entry(name), name)
    with opened_archive(path, UploadLimits()) as members:
        assert [member.place.as_posix() for member in members] == names
        with members[-1].open() as stream:
            assert stream.read().decode() == names[-1]


def test_odd_names_take_little_time(tmp_path: Path) -> None:
    class Entry(zipfile.ZipInfo):
        def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
            return self.filename.encode("latin-1"), 0

    path, rng = tmp_path / "a.zip", random.Random(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200):
            letters = "".join(chr(rng.randrange(0x80, 0x100)) for _ in range(4000))
            archive.writestr(Entry(f"{number}{letters}.png"), "")
    start = time.process_time()
    with opened_archive(path, UploadLimits()) as members:
        assert len(members) == 200
    assert time.process_time() - start < 5
