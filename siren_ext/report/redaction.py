"""Removes secrets and folders of this machine from values that are copied into a report."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from siren_ext.text import printable

_LONGEST = 20_000
_SECRET = re.compile(
    r"(^|[_\-.\s])(secret|password|passphrase|passwd|tokens?|api_?key|key|authorization|auth|cookie|"
    r"credentials?|private)($|[_\-.\s])",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"(?<![\w:/.\\])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\:*?\"<>|,;']+)+[/\\](?=[^\s/\\])"
)
# names in these may have spaces, such as that of a person; they can't have the excluded characters
_SPACED = re.compile(
    r"(?<!\w)(?:[A-Za-z]:|\\)[/\\](?:[^/\\:*?\"<>|\r\n]+[/\\])+(?=[^\s/\\])"
    r"|(?<![\w:/.\\])/(?:home|Users|Volumes)/(?:[^/:*?\"<>|\r\n]+/)+(?=[^\s/])"
)
_FILE_URI = re.compile(r"\bfile://[^/\s]*(?=/)")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
# A list of numbers in indented JSON; JSON strings can't contain line breaks.
_NUMBERS = re.compile(r"\[\n(?:\s*-?\d[\d.e+-]*,?\n)+\s*\]")
_QUERY = re.compile(r"(?<=\w)\?[\w.~-]+=\S*")


def clean(value: Any, depth: int = 16) -> Any:
    """Make values safe for a report.

    Parameters
    ----------
    value : Any
        Any value.
    depth : int
        Levels of nesting to keep.

    Returns
    -------
    Any
        Plain JSON values; secrets are replaced by ``(left out)`` and folders by an ellipsis.
    """
    if depth == 0:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {
            _text(key): "(left out)" if _SECRET.search(str(key)) else clean(item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, depth - 1) for item in value]
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _text(value)


def _text(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    text = _QUERY.sub("?(left out)", _LOGIN.sub("", text))
    text = _SPACED.sub("\u2026/", _FILE_URI.sub("", text))
    return _PLACE.sub("\u2026/", text)


def pretty(value: Any) -> str:
    """Write values as indented JSON for readers.

    Parameters
    ----------
    value : Any
        Plain JSON values.

    Returns
    -------
    str
        At most some 20,000 characters; invisible characters are shown as escapes.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = _NUMBERS.sub(lambda match: f"[{' '.join(match.group()[1:-1].split())}]", text)
    lines = text.split("\n")
    # Also escapes invisible characters that change the text direction.
    text = "\n".join(printable(line) for line in lines)
    rest = "\n\u2026 (the rest is in report.json)"
    return text if len(text) <= _LONGEST else text[:_LONGEST] + rest
