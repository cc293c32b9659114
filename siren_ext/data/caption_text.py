"""The text of caption files in any of the usual encodings.

Captions are UTF-8, or what Windows' editor and older programs wrote. They are short, so a general
detection alone is unreliable: what looks like a Western or a Japanese text is tried first.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from functools import lru_cache

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_LETTERS = r"\xc0-\xd6\xd8-\xdd\xdf-\xef\xf1-\xf6\xf8-\xfc\xff\u0153\u0161\u017e"
_BEFORE = rf"A-Za-z\d\u0152\u0160\u017d\u0178{_LETTERS}"
# A character that does not stand where it does in a Western text in cp1252. Most East Asian texts
# in their own encodings, read as cp1252, have such characters.
_NOT_WESTERN = re.compile(
    r"(?![\t\n\r\x20-\x7e\xa0]"
    rf"|(?<![{_LETTERS}]{{3}})[{_LETTERS}]|[\u0152\u0160\u017d\u0178](?=[A-Za-z])"
    rf"|(?<=[{_BEFORE}.,!?])[\u2019\u201d\xae\u2122\xb0\u2026\xb2\xb3\xaa\xba\xbd\xbc\xbe]"
    rf"|(?<![{_BEFORE}])[\u201c\u2018\u201e\u201a\xbf\xa1](?=[{_BEFORE}])"
    rf"|(?<![{_BEFORE}])\xab(?=[{_BEFORE} \xa0])|(?<=[{_BEFORE}.,!? \xa0])\xbb"
    r"|(?<=[\d ])[\xd7\u20ac\xa3\xa5\xb0\xbd\xbc\xbe](?=[\d ]|$)|[\xa9\u20ac\xa3\xa7\xb6](?=[ \d])"
    r"|(?<=[ \w])[\u2013\u2014\u2022\xb7\u2026](?=[ \w]|$))[\s\S]"
)
_JAPANESE = re.compile(
    r"[\t\n\r\x20-\x7e\u2010-\u2026\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e\uffe5\xb0\xd7]*"
)
_KANA = re.compile(r"[\u3041-\u30fa]")
_UPPER, _LOWER = r"\u0410-\u042f\u0401", r"\u0430-\u044f\u0451"
_RUSSIAN_WORD = re.compile(
    rf"(?<![A-Za-z{_UPPER}{_LOWER}])"
    rf"(?:[{_UPPER}]?[{_LOWER}]{{2,}}|[{_UPPER}]{{3,}}|[{_UPPER}{_LOWER}])"
    rf"(?![A-Za-z{_UPPER}{_LOWER}])"
)
_BESIDE_RUSSIAN = re.compile(r"[\t\n\r\x20-\x7e\xab\xbb\u2013\u2014\u2026]*")
_CHECKS = ("cp1252", "cp932", "euc_jp", "cp1251")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ue000-\uf8ff]")
_ASIAN = ("cp932", "cp949", "gb18030", "big5", "euc_jp", "cp874")
_EUROPEAN = ("cp1251", "cp1250", "cp1253", "cp1254", "cp1255", "cp1256", "cp1252")


def decode_text(content: bytes, similar: bytes = b"") -> tuple[str, str]:
    """Decode a text, by its byte order mark or by what it looks like.

    Parameters
    ----------
    content : bytes
        A caption, or a file of captions.
    similar : bytes
        Other texts that may be in the same code page; a detection from a few letters is uncertain.

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
        return _decoded(content, similar)
    except UnicodeDecodeError as error:
        raise ValueError("its encoding is not known") from error


def _decoded(content: bytes, similar: bytes) -> tuple[str, str]:
    """As :func:`decode_text`, with the errors of Python's decoders."""
    for mark, codec, name in _MARKS:
        if content.startswith(mark):
            return _plain(content.decode(codec)), name
    if b"\0" in content:
        return _wide(content)
    try:
        return _plain(content.decode("utf-8")), ""
    except UnicodeDecodeError:
        return _legacy(content, similar)


def _plain(text: str) -> str:
    """The text, if it has no control characters."""
    if _CONTROL.search(text):
        raise ValueError("it has control characters")
    return text


def _wide(content: bytes) -> tuple[str, str]:
    """UTF-16 without a mark: most of its zeros are on one side of each pair."""
    even, odd = content[::2].count(0), content[1::2].count(0)
    codec = "utf-16-be" if even > odd else "utf-16-le"
    return _plain(content.decode(codec)), "UTF-16"


def _looks_right(text: str, codec: str) -> bool:
    """Whether a text in one of the first encodings that are tried is plausible."""
    if codec == "cp1252":
        return _NOT_WESTERN.search(text) is None
    if codec == "cp1251":
        return _BESIDE_RUSSIAN.fullmatch(_RUSSIAN_WORD.sub("", text)) is not None
    if _JAPANESE.fullmatch(text) is None:
        return False
    # the frequent characters begin with bytes that are rare in Chinese and Korean encodings
    firsts = [character.encode(codec)[0] for character in text if not character.isascii()]
    usual = sum(0x81 <= first <= 0x98 for first in firsts)
    return bool(_KANA.search(text)) or (codec == "cp932" and 2 * usual >= len(firsts))


def _by_looks(content: bytes) -> tuple[str, str] | None:
    """A text in one of the code pages that are known by what a text looks like."""
    for codec in _CHECKS:
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            if _looks_right(text, codec):
                return text, codec
    return None


def is_uncertain(content: bytes) -> bool:
    """Whether only statistics tell the encoding, for which more text is better."""
    if b"\0" in content or any(content.startswith(mark) for mark, _, _ in _MARKS):
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _by_looks(content) is None
    return False


@lru_cache(maxsize=8)
def _detected(content: bytes) -> str | None:
    """The most probable code page."""
    from charset_normalizer import from_bytes

    best = from_bytes(content, cp_isolation=[*_ASIAN, *_EUROPEAN]).best()
    return None if best is None else best.encoding


def _legacy(content: bytes, similar: bytes) -> tuple[str, str]:
    """A text in a code page."""
    if found := _by_looks(content):
        return found
    for sample in (similar, content) if similar else (content,):
        codec = _detected(sample)
        if codec is not None:
            with suppress(ValueError):
                return _plain(content.decode(codec)), codec
    raise ValueError("its encoding is not known")
