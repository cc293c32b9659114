"""Answers of servers: what is not usable JSON is a bad answer, never a fault of the program."""

from __future__ import annotations

import pytest
from support.hostile_files import damaged

from siren_ext.suspects.responses import BadAnswer, list_at, parse_json

# Servers may send these: ComfyUI's histories hold NaN, and what is not asked for does no harm.
HARMLESS = ("doubled key", "NaN", "infinity", "unknown name", "many decimals")


@pytest.mark.parametrize("as_bytes", [True, False])
def test_damaged_answers_are_refused(as_bytes: bool) -> None:
    for name, (content, _) in damaged('{"images": ["x"], "info": "y"}').items():
        if name in HARMLESS or name.startswith("only"):
            parse_json(content)
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = None
        if not as_bytes and text is None:
            continue
        # json accepts bytes in UTF-16 as well
        if as_bytes and name == "UTF-16":
            assert parse_json(content)["info"] == "y"
            continue
        with pytest.raises(BadAnswer, match="is not JSON but begins") as error:
            parse_json(content if as_bytes else text)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 400, name


def test_what_should_be_a_list() -> None:
    answer = {"a": {"b": [1], "c": 0.5, "d": "xy", "e": {"0": 1}}}
    assert list_at(answer, "a.b") == [1]
    assert [list_at(answer, f"a.{name}") for name in "cdef"] == [[]] * 4
    assert list_at(None, "a") == []


@pytest.mark.parametrize(
    "answer", [b'{"a": "\xed\xa0\x80"}', '{"a": "\ud800"}', '{"a": "\\ud800"}', b'"\xff"']
)
def test_halves_of_characters_are_refused(answer: bytes | str) -> None:
    with pytest.raises(BadAnswer, match="is not JSON"):
        parse_json(answer)
    assert parse_json(b'\xef\xbb\xbf"\\ud83e\\udd8a"') == "\U0001f98a"
