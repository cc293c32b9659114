"""Text for display: names and messages on one line, natural sort order, durations."""

from __future__ import annotations

import re
import unicodedata


def _is_plain(character: str) -> bool:
    """Whether a character is safe to print on one line.

    Control characters, line breaks, lone surrogates and text-direction marks are not.
    """
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and (
        unicodedata.bidirectional(character)
        not in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    )


def printable(name: object) -> str:
    """A file name or error text on one line, with unsafe characters shown as escapes."""
    return "".join(c if _is_plain(c) else c.encode("unicode_escape").decode() for c in str(name))


def plain_name(name: str) -> str:
    """A file name with unsafe characters replaced by underscores."""
    return "".join(c if _is_plain(c) else "_" for c in name)


def safe_words(text: str) -> str:
    """A text made safe as part of a folder name on every system; 1 to 80 characters."""
    plain = "".join("_" if c in '<>:"/\\|?*' else c for c in plain_name(text))
    return plain.strip(" .")[:80].rstrip(" .") or "images"


def natural_key(name: object) -> tuple[tuple[int | str, ...], str]:
    """Sort key that puts ``2.png`` before ``10.png`` and ignores case."""
    pieces = re.split(r"(\d+)", str(name).casefold())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(pieces)), str(name)


def folded(name: str) -> str:
    """A name as file systems compare it that ignore case and ways to write accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``3 min 05 s`` or ``1 h 02 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
