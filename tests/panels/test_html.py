"""Failures become messages."""

from __future__ import annotations

from siren_ext.errors import Cancelled, ScoreError
from siren_ext.panels import html as cards


def test_failures_become_messages() -> None:
    def fail() -> tuple[str]:
        raise ScoreError("<b>bad</b> /home/someone/secret/file.png")

    def break_down() -> tuple[str]:
        raise ZeroDivisionError

    text, blank = cards.attempt(fail, (None,))
    assert "&lt;b&gt;bad" in text
    assert "/home/someone" not in text
    assert blank is None
    assert "ZeroDivisionError" in cards.attempt(break_down, ())[0]

    def stop() -> tuple[str]:
        raise Cancelled

    assert "Stopped" in cards.attempt(stop, ())[0]
