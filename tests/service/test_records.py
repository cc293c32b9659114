"""The journal of the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from siren_ext.coating.manifest import CoatEntry
from siren_ext.errors import DatasetError
from siren_ext.files import sha256_file
from siren_ext.service.records import ServiceJournal, find_image, read_journal

ENTRY = CoatEntry("1.in", "1.png", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16), ("a",))


def journal_in(path: Path, coater: str = "c" * 64) -> ServiceJournal:
    return ServiceJournal(path, coater, "k" * 64, 1.0)


def test_lines_are_read_with_what_was_in_use(tmp_path: Path) -> None:
    path = tmp_path / "served.jsonl"
    assert journal_in(path).add("1", ENTRY).entry == ENTRY
    later = journal_in(path, "d" * 64)
    later.add("2", ENTRY)
    lines = list(read_journal(path))
    assert [(head.coater[0], image.id) for head, image in lines] == [("c", "1"), ("d", "2")]
    assert lines[0][1].entry == ENTRY
    assert lines[0][0].key == "k" * 64
    # moved away by a program that keeps logs: the new file has its own head
    path.rename(tmp_path / "old.jsonl")
    later.add("3", ENTRY)
    assert [(head.coater[0], image.id) for head, image in read_journal(path)] == [("d", "3")]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_line_costs_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "served.jsonl"
    first = journal_in(path)
    first.add("1", ENTRY)
    first.add("2", ENTRY)
    path.write_bytes(path.read_bytes()[:-cut])
    journal_in(path).add("3", ENTRY)
    ids = [image.id for _, image in read_journal(path)]
    assert ids == (["1", "2", "3"] if cut == 1 else ["1", "3"])


def test_a_failed_write_costs_only_itself(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "served.jsonl"
    journal = journal_in(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("siren_ext.service.records.os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.add("1", ENTRY)
    path.write_bytes(path.read_bytes()[:-20])
    journal.add("2", ENTRY)
    assert [image.id for _, image in read_journal(path)] == ["2"]


def test_an_image_is_found_by_its_content(tmp_path: Path) -> None:
    image, path = tmp_path / "a.png", tmp_path / "served.jsonl"
    image.write_bytes(b"picture")
    journal = journal_in(path)
    journal.add("1", ENTRY)
    assert find_image(path, image) == []
    found = sha256_file(image)
    journal.add("2", CoatEntry("2.in", "2.png", "0" * 64, found, True, 1.0, None, None, (20, 16)))
    ((head, line),) = find_image(path, image)
    assert (head.coater, line.id) == ("c" * 64, "2")


@pytest.mark.parametrize("text", ["something else\n", "\nsomething else\n"])
def test_other_files_are_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.txt"
    path.write_text(text)
    with pytest.raises(DatasetError, match="is not a journal"):
        journal_in(path)
    with pytest.raises(DatasetError, match="is not a journal"):
        list(read_journal(path))
    assert path.read_text() == text
    with pytest.raises(DatasetError, match="can't be read"):
        list(read_journal(tmp_path / "none"))
