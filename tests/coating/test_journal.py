"""The journal of a coating run: damaged lines are ignored, a damaged head is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.hostile_files import check_reader, damaged, wrong_values

from siren_ext.coating.journal import JOURNAL_NAME, CoatJournal
from siren_ext.coating.manifest import CoatConfig, CoatEntry
from siren_ext.errors import DatasetError

ENTRY = CoatEntry("0.jpg", "0.png", "0" * 64, "1" * 64, True, 40.5, 2.0, 1.0, (20, 16), ("a",))


def journal_in(folder: Path) -> CoatJournal:
    return CoatJournal(folder, "c" * 64, CoatConfig(strength=1))


def test_a_damaged_line_is_ignored(tmp_path: Path) -> None:
    journal = journal_in(tmp_path)
    journal.begin(["0.png", "1.png"], ())
    journal.add(ENTRY)
    path = tmp_path / JOURNAL_NAME
    good = path.read_text()
    line = good.splitlines()[1]
    for what, (content, _) in damaged(line).items():
        path.write_bytes(good.encode() + content.replace(b"\n", b"") + b"\n")
        again = journal_in(tmp_path)
        assert again.known("0.jpg") == ENTRY, what
        assert again.known("1.jpg") is None


def test_a_journal_without_a_readable_first_line_is_refused(tmp_path: Path) -> None:
    journal_in(tmp_path).begin(["0.png"], ())
    path = tmp_path / JOURNAL_NAME

    def read(_: Path) -> Any:
        return journal_in(tmp_path)._owned

    check_reader(path, read, DatasetError, but=("two objects", "half a byte"))
    header = json.loads(path.read_text())
    for what, data in wrong_values(header):
        if what in ("no key", "key = 'text'", "coater = 'text'", "outputs = []", "config = {}"):
            continue
        path.write_text(json.dumps(data) + "\n")
        with pytest.raises(DatasetError, match=r"journal.*expected"):
            pytest.fail(f"{what}: {read(path)}")


def test_files_are_added_to_a_run_that_has_begun(tmp_path: Path) -> None:
    """They belong to the run before they are written, so that a killed run may replace them."""
    journal = journal_in(tmp_path)
    journal.begin(["a.png"], ())
    (tmp_path / "other.png").write_text("of somebody else")
    with pytest.raises(DatasetError, match="no earlier run wrote, such as"):
        journal.extend(["other.png"])
    journal.extend(["0.png", "a.png"])
    (tmp_path / "0.png").write_text("half a picture")
    journal.add(ENTRY)
    assert journal.known("0.jpg") == ENTRY
    lines = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    assert [line.startswith('{"outputs": ["0.png"]}') for line in lines] == [False, True, False]
    again = journal_in(tmp_path)
    assert again.recalled == (ENTRY,)
    again.begin(["0.png"], ())
    with pytest.raises(DatasetError, match="another file format"):
        again.extend(["0.webp"])
