"""JSON that no reader may choke on: damaged, oversized, or made to do harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from siren_ext.errors import SirenError

DEEP = 10_000
DIGITS = 5000


def damaged(text: str) -> dict[str, tuple[bytes, str]]:
    """Variants of a good JSON object by name: the bytes, and what the message must say.

    The first value is doubled, replaced or added to, so every variant concerns any reader.
    """
    good = json.loads(text)
    first, value = next(iter(good.items()))

    def with_value(written: str) -> bytes:
        rest = json.dumps(good)[1:]
        return f'{{"unknown": {written}, {rest}'.encode()

    start = f"{json.dumps(first)}: {json.dumps(value)}"
    return {
        "empty": (b"", "not valid JSON"),
        "cut off": (text.rstrip()[:-1].encode(), "not valid JSON"),
        "two objects": (text.encode() * 2, "not valid JSON"),
        "UTF-16": (text.encode("utf-16"), "UTF-8"),
        "half a byte": (text.encode() + b"\xff", "UTF-8"),
        "doubled key": (f"{{{start}, {json.dumps(good)[1:]}".encode(), "twice"),
        "lone surrogate": (with_value('"\\ud800"'), "lone surrogate"),
        "many digits": (with_value("1" * DIGITS), "digits"),
        "many decimals": (with_value("0." + "1" * DIGITS), "digits"),
        "NaN": (with_value("NaN"), "NaN"),
        "infinity": (with_value("1e999"), "1e999"),
        "deep list": (b"[" * DEEP + b"]" * DEEP, "nested too deep"),
        "deep object": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested too deep"),
        "deep inside": (with_value("[" * DEEP + "]" * DEEP), "nested too deep"),
        "open brackets": (b"[" * 100_000, "nested too deep"),
        "unknown name": (with_value("1"), "unknown"),
        **{
            f"only {word}": (word.encode(), "expected")
            for word in ("[]", "{}", "null", "true", '"text"', "1")
        },
    }


def check_reader(
    path: Path,
    read: Callable[[Path], Any],
    error: type[SirenError],
    *,
    but: tuple[str, ...] = (),
) -> None:
    """Put each damaged variant of the good file ``path`` in its place and read it.

    Each must raise ``error`` with the right reason in a short, printable message; the variants
    named in ``but`` are left out. The good file with a byte order mark must be read as before.
    """
    good = path.read_bytes()
    expected = read(path)
    for name, (content, reason) in damaged(good.decode()).items():
        if name in but:
            continue
        path.write_bytes(content)
        with pytest.raises(error) as raised:
            read(path)
        message = str(raised.value)
        assert reason in message, f"{name}: {message}"
        assert len(message) < 900, f"{name}: {message}"
        assert message.isprintable(), name
    path.write_bytes(b"\xef\xbb\xbf" + good)
    assert repr(read(path)) == repr(expected)
    path.write_bytes(good)


def wrong_values(good: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a JSON object, each with one value of another type or one name missing."""
    for name, value in good.items():
        yield f"no {name}", {key: other for key, other in good.items() if key != name}
        for wrong in (None, True, 3, -1.5, "text", [], {}, [[]], [{}], {"a": 1}):
            if type(wrong) is not type(value):
                yield f"{name} = {wrong!r}", {**good, name: wrong}
