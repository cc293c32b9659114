"""Words for people: durations, names and lines that are safe to print."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.text import duration, natural_key, plain_name, printable, safe_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (3720, "1 h 02 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.lists(st.text(max_size=8), max_size=8))
def test_natural_key_orders_any_names(names):
    assert sorted(names, key=natural_key) == sorted(names[::-1], key=natural_key)


@given(st.text(st.characters(), max_size=30))
def test_printable_names_are_one_harmless_line(name):
    shown = printable(name)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert printable(plain_name(name)) == plain_name(name)


def test_ordinary_names_stay_themselves():
    name = "東京　1_é_👩‍🎨.png"
    assert printable(name) == plain_name(name) == name


@given(st.text(max_size=120))
def test_safe_words_are_one_valid_folder_name(text):
    safe = safe_words(text)
    assert safe
    assert safe == safe.strip(" .")
    assert not set(safe) & set('<>:"/\\|?*\n\r\0')
    assert len(PurePosixPath(f"1_{safe}").parts) == 1
    assert all(ord(c) >= 32 for c in safe)
