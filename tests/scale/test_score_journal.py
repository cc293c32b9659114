"""What a journal of scores recalls, and what it drops."""

from __future__ import annotations

import pytest

from siren_ext.errors import ScoreError
from siren_ext.scale.score_journal import ScoreJournal
from siren_ext.scale.score_worker import Scored
from siren_ext.scoring.score_set import StoredImage

ROW = StoredImage("a.png", "a" * 64, 0.25, [1.0, -2.0], [0.0] * 8, [3.0, 4.0], "b" * 64)


def test_lines_are_recalled_for_the_same_coater_and_work(tmp_path) -> None:
    path = tmp_path / "journal"
    journal = ScoreJournal(path, "c", "column")
    journal.begin([])
    journal.add("a.png", "stamp", Scored((ROW,)))
    journal.add("x.tar", "other", Scored((ROW, ROW), (("b", "broken"),)))
    again = ScoreJournal(path, "c", "column")
    assert again.known("a.png") == ("stamp", Scored((ROW,)))
    assert again.known("x.tar") == ("other", Scored((ROW, ROW), (("b", "broken"),)))
    assert again.known("b.png") is None
    again.begin(["x.tar"])
    assert ScoreJournal(path, "c", "column").known("a.png") is None
    for other in (ScoreJournal(path, "d", "column"), ScoreJournal(path, "c")):
        assert other.known("x.tar") is None


def test_damage_counts_as_nothing_and_a_full_disk_is_told(tmp_path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"\xff\n{}")
    assert ScoreJournal(path, "c").known("a.png") is None
    path.unlink()
    path.mkdir()
    journal = ScoreJournal(path, "c")
    with pytest.raises(ScoreError, match="can't be written"):
        journal.begin([])
