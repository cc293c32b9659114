"""The captions of a corpus: damaged lists are refused, wherever they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.hostile_files import DEEP, DIGITS

from siren_ext.errors import DatasetError
from siren_ext.pocket.captions import Caption, read_captions


def test_captions_in_order_whatever_else_a_row_holds(tmp_path: Path) -> None:
    rows = [{"caption": "a", "source": "s", "licence": "x"}, {"source": "t", "caption": "b"}]
    path = tmp_path / "captions.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows).encode())
    assert read_captions(tmp_path) == [Caption("a", "s"), Caption("b", "t")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("{}", "is {}; expected a list"),
        ('[{"caption": "a"}]', r"\[0\] has no source; expected text"),
        ('[{"caption": 1, "source": "s"}]', r"\[0\].caption is 1; expected text"),
        ('[{"caption": "a", "caption": "b", "source": "s"}]', "twice"),
        ('[{"caption": "\\ud800", "source": "s"}]', "surrogate"),
        ("[" + "1" * DIGITS + "]", "digits"),
        ("[" * DEEP + "]" * DEEP, "nested too deep"),
    ],
)
def test_damaged_captions_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(DatasetError, match=rf"captions\.json.*{words}.*siren_ext\.pocket\.corpus"):
        read_captions(tmp_path)
