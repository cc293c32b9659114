"""What is said about errors of other libraries."""

from __future__ import annotations

import pytest

from siren_ext.errors import first_line, reason_of


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device", "/a/b"), "No space left on device"),
        (OSError("no number"), "no number"),
        (ValueError("a value"), "a value"),
        ("words", "words"),
    ],
)
def test_a_reason_has_neither_number_nor_path(error: BaseException | str, words: str) -> None:
    assert reason_of(error) == words


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("\n first\nsecond"), "first"), (KeyError(), "KeyError")],
)
def test_the_first_line_of_an_error(error: BaseException, line: str) -> None:
    assert first_line(error) == line
