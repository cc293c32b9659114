"""What is shown of a chain beside a verdict's warnings."""

from __future__ import annotations

from siren_ext.evidence.precedence import Precedence, not_committed

FITS = Precedence("committed before", "It fits.", created="2026-01-31T12:00:00Z")


def test_what_the_warnings_say_is_not_repeated():
    assert FITS.beside([]) == "It fits."
    assert FITS.beside(["It fits."]) == ""
    assert not_committed(keyed=True).beside([]) == "", "there is neither commitment nor ledger"


def test_what_was_not_checked_is_always_listed():
    open_ = Precedence("committed before", "It fits.", "2026", unchecked=("the date", "the round"))
    assert open_.left_open == "Not checked: the date; the round."
    assert open_.beside([]) == "It fits. Not checked: the date; the round."
    assert open_.beside(["It fits."]) == "Not checked: the date; the round."
    assert FITS.left_open == ""
