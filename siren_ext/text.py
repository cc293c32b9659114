"""Text as it is shown: names and messages on one line, numbers in names sorted, durations."""

from __future__ import annotations

import re
import unicodedata


def _is_plain(character: str) -> bool:
    """Neither a control, line-breaking or undecodable character nor one that turns the text."""
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and (
        unicodedata.bidirectional(character)
        not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    )


def printable(name: object) -> str:
    """A file name or error text on one line; odd characters are shown as escapes."""
    return "".join(c if _is_plain(c) else c.encode("unicode_escape").decode() for c in str(name))


def plain_name(name: str) -> str:
    """A file name as it is, but for odd characters, which become underscores."""
    return "".join(c if _is_plain(c) else "_" for c in name)


def natural_key(name: object) -> tuple[tuple[int | str, ...], str]:
    """Sort key that puts ``2.png`` before ``10.png`` and ignores case."""
    pieces = re.split(r"(\d+)", str(name).casefold())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)), str(name)


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``3 min 05 s``, ``1 h 02 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
