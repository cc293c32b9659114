"""Words for people: durations, names and lines that are safe to print."""

from __future__ import annotations

import pytest

from siren_ext.text import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words
