"""The words of a verdict on twins."""

from __future__ import annotations

from siren_ext.verdict.twins_words import twins_limits


def test_limits_say_what_p_is_not() -> None:
    limits = twins_limits("This is no probability of guilt. ")
    assert limits[1].startswith("This is no probability of guilt. It is how often fair coins")
    assert not any("{" in text for text in limits)
