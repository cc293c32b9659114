"""Progress that counts, names its stages and can be cancelled."""

from __future__ import annotations

import pytest

from siren_ext.errors import Cancelled
from siren_ext.progress import NULL, Named, Progress


def test_null_progress_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    NULL.stage("work", 3)
    NULL.advance(2, "note")
    NULL.notice("a notice")
    NULL.close()
    assert capsys.readouterr() == ("", "")


def test_cancelled_is_asked_on_every_advance() -> None:
    answers = iter([False, False, True])
    progress = Progress(lambda: next(answers))
    progress.stage("work", 3)
    progress.advance()
    progress.advance()
    with pytest.raises(Cancelled, match="resumes"):
        progress.advance()


def test_a_named_progress_names_stages_and_still_cancels() -> None:
    seen: list[tuple[str, int | None, int]] = []

    class Recorder(Progress):
        def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
            seen.append((label, total, done))

        def notice(self, text: str) -> None:
            notices.append(text)

    notices: list[str] = []
    named = Named(Recorder(), "suspect")
    named.stage("Scoring", 30, 2)
    named.notice("a notice")
    assert seen == [("Scoring (suspect)", 30, 2)]
    assert notices == ["a notice"]
    with pytest.raises(Cancelled):
        Named(Progress(lambda: True), "suspect").advance()
