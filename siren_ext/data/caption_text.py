"""The text of caption files in any of the usual encodings.

Captions are UTF-8, or what Windows' editor and older programs wrote. They are short, so that a code
page is found from all captions of a folder together.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress

from siren_ext.data.code_pages import CONTROL, CodePage

MAX_CAPTION_BYTES = 1 << 16

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_MARK_BYTES = tuple(mark for mark, _, _ in _MARKS)
# what Japanese and Chinese are written in, and what shows that it is no other encoding by chance
_EAST_ASIAN = re.compile(r"[\u2010-\u2026\u3001-\u30fe\u4e00-\u9fff\uff01-\uff5e\uff61-\uff9f]{2,}")
_EAST_ASIAN_SIGN = re.compile(r"[\u3001-\u3003\u300a-\u3011\u3041-\u30fe\uff01-\uff1f]")
_ASCII_LETTERS = re.compile(rb"[a-zA-Z ]")
_LIKELY = re.compile(
    r"[\t\n\r\x20-\x7e\xa0-\xff\u0370-\u04ff\u2010-\u2026\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
    r"\uff01-\uff9f]"
)


def decode_text(content: bytes, code_page: CodePage | None = None) -> tuple[str, str]:
    """Decode a text, by its byte order mark or by what it looks like.

    Parameters
    ----------
    content : bytes
        A caption, or a file of captions.
    code_page : CodePage | None
        That of other texts, which this one most probably shares; a detection from a few letters is
        uncertain.

    Returns
    -------
    text : str
        The text, without a byte order mark.
    encoding : str
        Its encoding; empty for UTF-8.

    Raises
    ------
    ValueError
        It is not a text, or in no encoding that is known.
    """
    try:
        return _decoded(content, code_page or CodePage())
    except UnicodeDecodeError as error:
        raise ValueError("its encoding is not known") from error


def _decoded(content: bytes, code_page: CodePage) -> tuple[str, str]:
    """As :func:`decode_text`, with the errors of Python's decoders."""
    for mark, codec, name in _MARKS:
        if content.startswith(mark):
            return _plain(content.decode(codec)), name
    if b"\0" in content:
        return _wide(content)
    if b"\x1b$" in content:
        return _plain(content.decode("iso2022_jp")), "ISO-2022-JP"
    try:
        return _plain(content.decode("utf-8")), ""
    except UnicodeDecodeError:
        return _unmarked(content) or _legacy(content, code_page)
    except ValueError:
        if found := _unmarked(content):
            return found
        raise


def _plain(text: str) -> str:
    """The text, if it has no control characters."""
    if CONTROL.search(text):
        raise ValueError("it has control characters")
    return text


def _wide(content: bytes) -> tuple[str, str]:
    """UTF-16 without a mark: in the order that gives more usual characters."""
    zeros = {"utf-16-le": content[1::2].count(0), "utf-16-be": content[::2].count(0)}
    found = {}
    for codec, count in zeros.items():
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            found[text] = len(_LIKELY.findall(text)) / max(1, len(text)), count
    if not found:
        raise ValueError("its encoding is not known")
    return _plain(max(found, key=lambda text: found[text])), "UTF-16"


def _unmarked(content: bytes) -> tuple[str, str] | None:
    """Japanese or Chinese in UTF-16 without a mark, which may have no zeros."""
    if 2 * len(_ASCII_LETTERS.findall(content)) > len(content):
        return None  # it would be a strange text
    for codec in ("utf-16-le", "utf-16-be"):
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            if _EAST_ASIAN.fullmatch(text) and _EAST_ASIAN_SIGN.search(text):
                return text, "UTF-16"
    return None


def has_text(content: bytes) -> bool:
    """Whether a caption file can be read, and is neither blank nor too long for a caption."""
    if len(content) > MAX_CAPTION_BYTES:
        return False
    try:
        return decode_text(content)[0].strip() != ""
    except ValueError:
        return False


def is_legacy(content: bytes) -> bool:
    """Whether a text is in a code page, so that only its letters tell in which."""
    if b"\0" in content or b"\x1b$" in content or content.startswith(_MARK_BYTES):
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _unmarked(content) is None
    return False


def _legacy(content: bytes, code_page: CodePage) -> tuple[str, str]:
    """A text in a code page."""
    codec = code_page.of(content)
    if codec is None:
        raise ValueError("its encoding is not known")
    return _plain(content.decode(codec)), codec
