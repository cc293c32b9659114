"""Safe reading of JSON and TOML from other people: size limits, strict rules, one clear error.

Parsers alone are not safe: the time and memory of ``tomllib`` grow with the square of the dots in a
key (80 KB of them took 32 s and 6 GB), and both parsers recurse into brackets. Size, depth, digits
and dots are therefore checked before parsing. Doubled names, NaN and lone surrogates, which the
parsers accept, are refused. :mod:`siren_ext.schema` checks the types.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from siren_ext.errors import SirenError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_JSON_BYTES = 64 << 20
MAX_TOML_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_PARTS = 4_000_000
# Short enough that every whole number can also be had as a float.
MAX_DIGITS = 300
MAX_DOTS = 16

# One alternative for each kind of TOML string and for comments; an unclosed one reaches to the end,
# so that each character is looked at once.
_TOML_TEXT = re.compile(
    r'"""(?:\\.|[^\\"]|"(?!""))*(?:"{3,5}|\Z)'
    r"|'''(?:[^']|'(?!''))*(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*",
    re.DOTALL,
)
_TOML_PIECES = re.compile(r"[=,\[\]{}\n]")
_JSON_TEXT = re.compile(rb'"[^"]*"')
_NOT_JSON_MARKS = bytes(set(range(256)) - set(b'[]{}"'))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_BYTE_STEP = {ord(mark): step for mark, step in _STEP.items()}


def read_bytes(
    path: Path | str,
    *,
    error: type[SirenError],
    max_bytes: int,
    name: str | None = None,
    advice: str = "",
) -> bytes:
    """The bytes of a regular file of limited size.

    Parameters
    ----------
    path : Path | str
        the file.
    error : type[SirenError]
        what is raised.
    max_bytes : int
        largest size that is read.
    name : str | None
        what messages call the file; None for its path.
    advice : str
        a sentence that ends every message: how to get a good file.

    Returns
    -------
    bytes
        at most ``max_bytes``.

    Raises
    ------
    SirenError
        of the kind ``error``: missing, too large, no regular file or unreadable.
    """
    with _refusals(str(path) if name is None else name, error, advice):
        if os.path.isdir(path):  # noqa: PTH112 - Windows does not open folders; this never raises
            raise _Refused("is a folder; expected a file")
        # A named pipe would block until somebody writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with os.fdopen(handle, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _Refused("is not a regular file; expected a file")
            _check_size(status.st_size, max_bytes)
            # The file may grow after its size was asked for, so the read is bounded as well.
            data = stream.read(max_bytes + 1)
        _check_size(len(data), max_bytes)
        return data


def read_json(
    path: Path | str,
    *,
    error: type[SirenError],
    max_bytes: int = MAX_JSON_BYTES,
    name: str | None = None,
    advice: str = "",
) -> Any:
    """The values of a JSON file; see :func:`read_bytes` and :func:`parse_json`."""
    name = str(path) if name is None else name
    data = read_bytes(path, error=error, max_bytes=max_bytes, name=name, advice=advice)
    return parse_json(data, name=name, error=error, max_bytes=max_bytes, advice=advice)


def read_toml(
    path: Path | str,
    *,
    error: type[SirenError],
    max_bytes: int = MAX_TOML_BYTES,
    name: str | None = None,
    advice: str = "",
) -> dict[str, Any]:
    """The values of a TOML file; see :func:`read_bytes` and :func:`parse_toml`."""
    name = str(path) if name is None else name
    data = read_bytes(path, error=error, max_bytes=max_bytes, name=name, advice=advice)
    return parse_toml(data, name=name, error=error, max_bytes=max_bytes, advice=advice)


def parse_json(
    text: str | bytes,
    *,
    name: str,
    error: type[SirenError],
    max_bytes: int = MAX_JSON_BYTES,
    advice: str = "",
) -> Any:
    """The values of a JSON text.

    Parameters
    ----------
    text : str | bytes
        JSON; bytes are UTF-8. A byte order mark is accepted.
    name : str
        what messages call the text.
    error : type[SirenError]
        what is raised.
    max_bytes : int
        largest size in UTF-8.
    advice : str
        a sentence that ends every message.

    Returns
    -------
    Any
        plain values: all numbers finite and of at most :data:`MAX_DIGITS` digits, at most
        :data:`MAX_PARTS` lists and objects, of those at most :data:`MAX_DEPTH` inside one another,
        all texts encodable.

    Raises
    ------
    SirenError
        of the kind ``error``: not JSON, a name twice in an object, or beyond these limits.
    """
    with _refusals(name, error, advice):
        data = _plain_bytes(text, max_bytes)
        marks = data.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in data else data
        marks = _JSON_TEXT.sub(b"", marks.translate(None, _NOT_JSON_MARKS)).replace(b'"', b"")
        if len(marks) > 2 * MAX_PARTS:
            count = f"{len(marks) // 2:,} lists and objects"
            raise _Refused(f"has {count}; expected at most {MAX_PARTS:,}")
        _check_depth(map(_BYTE_STEP.__getitem__, marks))
        values = json.loads(
            data.decode(),
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
            parse_float=_finite_number,
            object_pairs_hook=_object,
        )
        if _SURROGATE_ESCAPE.search(data):
            _check_texts(values)
        return values


def parse_toml(
    text: str | bytes,
    *,
    name: str,
    error: type[SirenError],
    max_bytes: int = MAX_TOML_BYTES,
    advice: str = "",
) -> dict[str, Any]:
    """The values of a TOML text, with the parameters and limits of :func:`parse_json`.

    A key or table header may also have at most :data:`MAX_DOTS` dots.
    """
    with _refusals(name, error, advice):
        written = _plain_bytes(text, max_bytes).decode().replace("\r\n", "\n")
        bare = _TOML_TEXT.sub("s", written)
        _check_depth(_STEP[mark] for mark in bare if mark in _STEP)
        if any(piece.count(".") > MAX_DOTS for piece in _TOML_PIECES.split(bare)):
            raise _Refused(f"has a name with too many dots; expected at most {MAX_DOTS}")
        values = _parsed_toml(written)
        _check_numbers(values)
        return values


_BINARY: int = getattr(os, "O_BINARY", 0)
_TOO_DEEP = f"has lists or tables nested too deep; expected at most {MAX_DEPTH} levels"
_LONG_NUMBER = f"contains a number that is too long; expected at most {MAX_DIGITS} digits"


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """Something that the parser accepts and this module does not."""


@contextmanager
def _refusals(name: str, error: type[SirenError], advice: str) -> Iterator[None]:
    """Turn every way in which reading fails into one sentence about ``name``."""
    cause: BaseException | None
    try:
        yield
    except _Refused as problem:
        what, cause = str(problem), problem.__cause__
    except json.JSONDecodeError as problem:
        place = f"{problem.msg}, line {problem.lineno}, column {problem.colno}"
        what, cause = f"is not valid JSON: {place}; correct it there", problem
    except tomllib.TOMLDecodeError as problem:
        what, cause = f"is not valid TOML: {str(problem)[:160]}; correct it there", problem
    except RecursionError as problem:
        what, cause = _TOO_DEEP, problem
    except UnicodeError as problem:
        what, cause = "is not text in UTF-8; save it in that encoding", problem
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        what, cause = f"can't be read ({reason}); expected a readable file", problem
    else:
        return
    raise error(f"{name} {what}. {advice}".rstrip()) from cause


def _parsed_toml(text: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as problem:  # int() refuses thousands of digits
        raise _Refused(_LONG_NUMBER) from problem
    return values


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise _Refused(f"has {size:,} bytes; expected at most {limit:,}")


def _plain_bytes(text: str | bytes, max_bytes: int) -> bytes:
    """UTF-8 of limited size, without a byte order mark."""
    _check_size(len(text), max_bytes)
    data = text.encode() if isinstance(text, str) else text
    _check_size(len(data), max_bytes)
    data.decode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _check_depth(steps: Iterable[int]) -> None:
    """Raise unless the running sum of ``steps`` stays within the limit."""
    if any(depth > MAX_DEPTH for depth in accumulate(steps)):
        raise _Refused(_TOO_DEEP)


def _refuse_constant(word: str) -> NoReturn:
    raise _Refused(f"contains {word}; expected finite numbers")


def _whole_number(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(_LONG_NUMBER)
    return int(text)


def _finite_number(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise _Refused(_LONG_NUMBER)
    value = float(text)
    if not math.isfinite(value):
        raise _Refused(f"contains {text[:40]}; expected numbers below 1e308")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _Refused(f"has the name {twice[:80]!r} twice in one object; expected it once")
    return values


def _check_texts(values: Any) -> None:
    """Raise for a text that holds a lone surrogate, which can't be written as UTF-8."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        code = ord(problem.object[problem.start])
        raise _Refused(
            f"contains half of a character (the lone surrogate \\u{code:04x}); expected whole "
            "characters"
        ) from None


def _check_numbers(values: Any) -> None:
    """Raise for a number that is not finite or too long, anywhere in the values of a TOML file."""
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            _refuse_constant(str(value))
        elif isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
            raise _Refused(_LONG_NUMBER)


def failed_download(path: Path) -> str:
    """What a failed download left in place of a file of weights, and what to do.

    Parameters
    ----------
    path : Path
        the file.

    Returns
    -------
    str
        a phrase without a full stop; "" if it looks like nothing of the kind.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64).lstrip().lower()
    except OSError:
        return ""
    if start.startswith(b"version https://git-lfs"):
        return (
            "it is a pointer of Git LFS, which names the file but does not hold it; run 'git lfs "
            "pull' in its folder, or download the file itself"
        )
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b'{"error', b'{"message')):
        return (
            "it is a web page or an error message, not the file; log in where it comes from, or "
            "accept its terms, and download it again"
        )
    return ""
