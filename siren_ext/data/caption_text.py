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
_LETTERS = r"\xc0-\xd6\xd8-\xdd\xdf-\xef\xf1-\xf6\xf8-\xfc\xff\u0153"
_BEFORE = rf"A-Za-z\d\u0152\u0178{_LETTERS}"
# A character that does not stand where it does in a Western text in cp1252. Most East Asian texts
# in their own encodings, read as cp1252, have such characters.
_NOT_WESTERN = re.compile(
    r"(?![\t\n\r\x20-\x7e\xa0]"
    rf"|(?!\xf5[^e])(?<![{_LETTERS}]{{3}})[{_LETTERS}]|[\u0152\u0178](?=[A-Za-z])"
    rf"|(?<=[{_BEFORE}.,!?])[\u2019\u201d\xae\u2122\xb0\u2026]"
    rf"|(?<=[{_BEFORE}.,!?])[\xb2\xb3\xaa\xba\xbd\xbc\xbe](?![A-Za-z{_LETTERS}])"
    rf"|(?<![{_BEFORE}])[\u201c\u2018\u201e\u201a\xbf\xa1](?=[{_BEFORE}])"
    rf"|(?<![{_BEFORE}])\xab(?=[{_BEFORE} \xa0])|(?<=[{_BEFORE}.,!? \xa0])\xbb"
    r"|(?<![^\d ])[\xd7\u20ac\xa3\xa5\xb0\xbd\xbc\xbe](?=[\d ]|$)|[\xa9\u20ac\xa3\xa7\xb6](?=[ \d])"
    r"|(?<=[ \w])[\u2013\u2014\u2022\xb7\u2026](?=[ \w]|$))[\s\S]"
)
_CASE_CHANGE = re.compile(r"[a-z\xdf-\xf6\xf8-\xff\u0153][A-Z\xc0-\xd6\xd8-\xde\u0152\u0178]")
_JAPANESE = re.compile(
    r"[\t\n\r\x20-\x7e\u2010-\u2026\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e\uffe5\xb0\xd7]*"
)
_KANA = re.compile(r"[\u3041-\u30fa]")
# Polish, Czech and Slovak, Hungarian, Croatian and Slovene, Romanian; Lithuanian, Latvian
_CENTRAL_LETTERS = tuple(
    frozenset(letters + letters.upper())
    for letters in (
        "\u0105\u0107\u0119\u0142\u0144\xf3\u015b\u017a\u017c",
        "\xe1\u010d\u010f\xe9\u011b\xed\u0148\xf3\u0159\u0161\u0165\xfa\u016f\xfd\u017e\xe4\xf4\u013e\u013a\u0155",
        "\xe1\xe9\xed\xf3\xf6\u0151\xfa\xfc\u0171",
        "\u010d\u0107\u0111\u0161\u017e",
        "\u0103\xe2\xee\u015f\u0163",
        "\u0105\u010d\u0119\u0117\u012f\u0161\u0173\u016b\u017e",
        "\u0101\u010d\u0113\u0123\u012b\u0137\u013c\u0146\u0161\u016b\u017e",
    )
)
_CENTRAL = {
    **dict.fromkeys(("cp1250", "iso8859_2"), _CENTRAL_LETTERS[:-2]),
    "cp1257": _CENTRAL_LETTERS[-2:],
}
_LETTER = re.compile(r"[^\W\d_]")
_MIXED_WORD = re.compile(r"[A-Za-z][^\W\d_A-Za-z]|[^\W\d_A-Za-z][A-Za-z]")
_BESIDE_CENTRAL = re.compile(r"[\t\n\r\x20-\x7e\u2013\u2014\u2018-\u201e\u2026]*")
# first and second bytes of the frequent characters, and first bytes of punctuation
_FREQUENT = {
    "gb18030": (range(0xB0, 0xD8), range(0xA1, 0xFF)),
    "big5": (range(0xA4, 0xC7), range(0x40, 0xFF)),
    "cp949": (range(0xB0, 0xC9), range(0xA1, 0xFF)),
}
_PUNCTUATION = range(0xA1, 0xA4)
# upper and lower case of an alphabet, and the letters that make up two thirds of a usual text
_CYRILLIC = (
    r"\u0410-\u042f\u0401\u0404\u0406\u0407\u040e\u0490",
    r"\u0430-\u044f\u0451\u0454\u0456\u0457\u045e\u0491",
    "\u0456\u043e\u0435\u0430\u0438\u043d\u0442\u0441\u0440\u0432\u043b",
)
_GREEK = (
    r"\u0391-\u03a9\u0386\u0388-\u038f",
    r"\u03b1-\u03c9\u03ac-\u03af\u03cc-\u03ce",
    "\u03b1\u03ac\u03bf\u03cc\u03b9\u03af\u03b5\u03ad\u03c4\u03c3\u03c2\u03bd\u03b7\u03ae\u03c5\u03cd\u03c1",
)
_HEBREW = (
    r"\u05d0-\u05ea",
    r"\u05d0-\u05ea",
    "\u05d9\u05d5\u05d4\u05dc\u05d0\u05de\u05e8\u05ea\u05d1\u05e9\u05e0",
)
_ALPHABETS = {
    "cp1251": _CYRILLIC,
    "cp1255": _HEBREW,  # read as KOI8-R it is in capitals, which are rarer
    **dict.fromkeys(("koi8_r", "koi8_u"), _CYRILLIC),
    "cp1253": _GREEK,
    **dict.fromkeys(("cp866", "iso8859_5", "mac_cyrillic"), _CYRILLIC),
}
_LEAST_USUAL = 0.3
_BESIDE_LETTERS = re.compile(r"[\t\n\r\x20-\x7e\xab\xbb\u2013\u2014\u2019\u2026]*")
_CHECKS = ("cp1252", "cp1250", "cp932", "euc_jp", "iso8859_2", "cp1257")
_TURKISH_ONLY = frozenset("\u011e\u011f\u0130\u0131\u015e\u015f")
_TURKISH = re.compile(
    r"[\t\n\r\x20-\x7e\xc7\xd6\xdc\xe2\xe7\xee\xf6\xfb\xfc\u011e\u011f\u0130\u0131\u015e\u015f"
    r"\u2013\u2018-\u201d\u2026]*"
)
# what Japanese and Chinese are written in, and what shows that it is no other encoding by chance
_EAST_ASIAN = re.compile(r"[\u2010-\u2026\u3001-\u30fe\u4e00-\u9fff\uff01-\uff5e\uff61-\uff9f]{2,}")
_EAST_ASIAN_SIGN = re.compile(r"[\u3001-\u3003\u300a-\u3011\u3041-\u30fe\uff01-\uff1f]")
_LIKELY = re.compile(
    r"[\t\n\r\x20-\x7e\xa0-\xff\u0370-\u04ff\u2010-\u2026\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3"
    r"\uff01-\uff9f]"
)
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
    if b"\x1b$" in content:
        return _plain(content.decode("iso2022_jp")), "ISO-2022-JP"
    try:
        return _plain(content.decode("utf-8")), ""
    except UnicodeDecodeError:
        return _unmarked(content) or _legacy(content, similar)
    except ValueError:
        if found := _unmarked(content):
            return found
        raise


def _plain(text: str) -> str:
    """The text, if it has no control characters."""
    if _CONTROL.search(text):
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
    for codec in ("utf-16-le", "utf-16-be"):
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            if _EAST_ASIAN.fullmatch(text) and _EAST_ASIAN_SIGN.search(text):
                return text, "UTF-16"
    return None


def _looks_right(text: str, codec: str) -> bool:
    """Whether a text in one of the first encodings that are tried is plausible."""
    if codec == "cp1252":
        return _NOT_WESTERN.search(text) is None
    if codec in _CENTRAL:
        return _is_central(text, codec)
    if _JAPANESE.fullmatch(text) is None:
        return False
    # the frequent characters begin with bytes that are rare in Chinese and Korean encodings
    firsts = [character.encode(codec)[0] for character in text if not character.isascii()]
    usual = sum(0x81 <= first <= 0x98 for first in firsts)
    return bool(_KANA.search(text)) or (codec == "cp932" and 2 * usual >= len(firsts))


def _is_central(text: str, codec: str) -> bool:
    """Whether a text is plausible in a language of Central Europe, or of the Baltic."""
    letters = _LETTER.findall(text)
    special = {letter for letter in letters if not letter.isascii()}
    return (
        _BESIDE_CENTRAL.fullmatch(_LETTER.sub("", text)) is not None
        and _MIXED_WORD.search(text) is not None
        and 2 * sum(letter.isascii() for letter in letters) >= len(letters)
        and any(special <= alphabet for alphabet in _CENTRAL[codec])
    )


def _by_looks(content: bytes) -> tuple[str, str] | None:
    """A text in one of the code pages that are known by what a text looks like."""
    turkish = content.decode("cp1254", "replace")
    if len(_TURKISH_ONLY.intersection(turkish)) > 1 and _TURKISH.fullmatch(turkish):
        return turkish, "cp1254"
    for codec in _CHECKS:
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            if _looks_right(text, codec):
                return text, codec
    return _by_alphabet(content)


@lru_cache(maxsize=1)
def _words() -> dict[str, re.Pattern[str]]:
    """Words of the alphabets, as they are usually written."""
    return {
        codec: re.compile(
            rf"(?<![A-Za-z{upper}{lower}])"
            rf"(?:[{upper}]?[{lower}]{{2,}}|[{upper}]{{3,}}|[{upper}{lower}])"
            rf"(?![A-Za-z{upper}{lower}])"
        )
        for codec, (upper, lower, _) in _ALPHABETS.items()
    }


def _by_alphabet(content: bytes) -> tuple[str, str] | None:
    """A text in an alphabet of its own, in the code page that gives the most frequent letters."""
    found: dict[str, tuple[float, str]] = {}
    for codec, words in _words().items():
        with suppress(UnicodeDecodeError):
            text = content.decode(codec)
            if _BESIDE_LETTERS.fullmatch(words.sub("", text)):
                letters = [letter for letter in text.lower() if letter >= "\u0370"]
                usual = sum(letter in _ALPHABETS[codec][2] for letter in letters)
                if usual > _LEAST_USUAL * len(letters):
                    found[codec] = usual / len(letters), text
    if not found:
        return None
    codec = max(found, key=lambda name: found[name][0])
    return found[codec][1], codec


def _by_frequency(content: bytes) -> str | None:
    """The only East Asian code page in which all characters of a text are frequent ones."""
    found = []
    for codec, (firsts, seconds) in _FREQUENT.items():
        with suppress(UnicodeDecodeError):
            pairs = [c.encode(codec) for c in content.decode(codec) if not c.isascii()]
            if len(pairs) > 2 and all(
                len(pair) == 2
                and (pair[0] in _PUNCTUATION or (pair[0] in firsts and pair[1] in seconds))
                for pair in pairs
            ):
                found.append(codec)
    return found[0] if len(found) == 1 else None


def is_uncertain(content: bytes) -> bool:
    """Whether only statistics tell the encoding, for which more text is better."""
    if b"\0" in content or any(content.startswith(mark) for mark, _, _ in _MARKS):
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return _unmarked(content) is None and _by_looks(content) is None
    return False


def _by_case(content: bytes) -> str | None:
    """The only one of DOS' and old Macs' code pages in which a text is plausible."""
    found = []
    for codec in ("cp850", "mac_roman"):
        text = content.decode(codec)  # all bytes are characters in both
        if _NOT_WESTERN.search(text) is None and _CASE_CHANGE.search(text) is None:
            found.append(codec)
    return found[0] if len(found) == 1 else None


@lru_cache(maxsize=8)
def _detected(content: bytes) -> str | None:
    """The most probable code page."""
    if found := _by_frequency(content) or _by_case(content):
        return found
    from charset_normalizer import from_bytes

    best = from_bytes(content, cp_isolation=[*_ASIAN, *_EUROPEAN]).best()
    if best is not None and best.encoding in _ASIAN and _MIXED_WORD.search(str(best)):
        best = from_bytes(content, cp_isolation=[*_EUROPEAN]).best() or best
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
