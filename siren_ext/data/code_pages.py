"""The code page of texts, by how usual the letters are that it gives.

Texts of one program are in one code page, and most are in one language. So all their words vote
together: a short text alone can be read in several ways.
"""

from __future__ import annotations

import math
import re
import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterable
from functools import cached_property, lru_cache

from siren_ext.data.languages import languages

CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ue000-\uf8ff]")
"""Characters that no caption has."""

_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_LONGEST_WORD = 120
_MOST_BYTES, _MOST_BYTES_ALONE, _MOST_ALONE = 4000, 600, 50
# Logarithms of probabilities: how much rarer than cp1252 a code page is, and what is odd in a text.
_RARER = {
    "cp1252": 0.0,
    **dict.fromkeys(("cp1250", "cp1251", "cp932", "gb18030", "cp949", "big5"), -1.0),
    **dict.fromkeys(("cp1253", "cp1254", "cp1255", "cp1256", "cp874"), -1.5),
    "cp1258": -5.0,
    # in these, ordinary signs of cp1252 are letters of Western languages
    **dict.fromkeys(("mac_roman", "mac_iceland", "mac_turkish", "mac_latin2"), -6.0),
    **dict.fromkeys(("cp850", "cp852", "cp857"), -6.0),
}
_RARE = -3.0
_UNREADABLE, _MIXED, _CASE = -9.0, -6.0, -6.0
_SIGN, _TURNED_SIGN, _ODD_SIGN = -6.0, -8.0, -12.0
_MOST_OF_A_WORD = 15.0  # a single word decides no more than this
_OTHER_LANGUAGE = 4.0
_PLAUSIBLE = -7.0  # mean for each byte of a text; what is below it may be in another code page
_BETTER = 8.0
_SHORT = -12.0  # a name or a sign may be odd in a short text
_FINALS = "\u05da\u05dd\u05df\u05e3\u05e5\u03c2"  # letters of Hebrew and Greek at the ends of words
_NOT_FINALS = "\u05db\u05de\u05e0\u05e6\u03c3"
_OPENING, _CLOSING = "\u201c\u2018\u201e\u201a\xab\xbf\xa1", "\u201d\u2019\xbb\xae\u2122"
_EITHER = "\u201c\u201d\u2018\u2019\xab\xbb\u2020\u2021"  # in the other direction in some languages
# words of one letter
_SINGLE = "\xe0\xe1\xe2\xe5\xe6\xe8\xe9\xea\xec\xed\xf2\xf3\xf4\xf6\xf8\xf9\xfa\u0151"
_HIGH = "\xb2\xb3\xaa\xba\xb9"
_BETWEEN = "\u2013\u2014\u2022\xb7\xd7"
_MICRO = "\xb5"
_BEFORE_NUMBERS = "\xa9\u20ac\xa3\xa5\xa7\xb1\xbd\xbc\xbe\u2116"
# a Greek word of several syllables has an accent
_NO_ACCENT = re.compile(
    r"(?<![\u0370-\u03ff])(?=[\u03b1-\u03c9]*[\u03b1\u03b5\u03b7\u03b9\u03bf\u03c5\u03c9]"
    r"[\u03b2-\u03b4\u03b6\u03b8\u03ba-\u03be\u03c0-\u03c4\u03c6-\u03c8]+"
    r"[\u03b1\u03b5\u03b7\u03b9\u03bf\u03c5\u03c9])[\u03b1-\u03c9]+(?![\u0370-\u03ff])"
)
_HALF_KANA = re.compile(r"(?<![\uff61-\uff9f])[\uff61-\uff9f](?![\uff61-\uff9f])")
_WIDE_SIGNS = re.compile(r"[\u3000-\u303f\u30fb\uff01-\uff65]")


class CodePage:
    """The code page that texts most probably have in common, such as the captions of a folder.

    Finding a code page takes time, and anybody can write texts that fit no other: only so many are
    read by themselves.

    Parameters
    ----------
    texts : Iterable[bytes]
        Texts in no Unicode encoding; none if nothing is known beforehand.
    """

    def __init__(self, texts: Iterable[bytes] = ()) -> None:
        self._words = _words(texts, _MOST_BYTES)
        self._left = _MOST_ALONE

    @cached_property
    def common(self) -> str | None:
        """Python's name of it; None without texts."""
        return _elected(self._words) if self._words else None

    def of(self, content: bytes) -> str | None:
        """The code page of a text, which is read by itself if it can't be like the others.

        Parameters
        ----------
        content : bytes
            The text.

        Returns
        -------
        str | None
            Python's name of it; None if it is not known.
        """
        own = _words([content], _MOST_BYTES)
        codec = self.common or self._alone(own)
        if codec is None:
            return None
        together, least = _reading(own, content, codec)
        # a folder may have texts of several programs
        if self.common and together < least and (alone := self._alone(own)) is not None:
            better, least_alone = _reading(own, content, alone)
            if better + _RARER.get(alone, _RARE) > together + _BETTER:
                codec, together, least = alone, better, least_alone
        return codec if together >= least + _SHORT else None

    def _alone(self, words: tuple[bytes, ...]) -> str | None:
        """The code page of words by themselves; None after too many."""
        self._left -= 1
        if self._left < 0:
            return None
        return _elected(_words(words, _MOST_BYTES_ALONE))


def _words(texts: Iterable[bytes], most: int) -> tuple[bytes, ...]:
    """Different words that are not ASCII; spaces are no part of a character in any code page."""
    size, kept = 0, dict[bytes, None]()
    for text in texts:
        for word in text.split():
            if word in kept or not _NOT_ASCII.search(word):
                continue
            kept[word[: _LONGEST_WORD + 1]] = None
            size += len(word[: _LONGEST_WORD + 1])
            if size > most:
                return tuple(kept)
    return tuple(kept)


@lru_cache(maxsize=64)
def _elected(words: tuple[bytes, ...]) -> str:
    """The code page, with one language, in which words are most usual together."""
    scores = [{codec: _scores(word, codec) for codec in languages()} for word in words]
    best = [max(max(values) for values in word.values()) for word in scores]
    found: dict[str, float] = {}
    for codec, spoken in languages().items():
        totals = [
            sum(
                max(word[codec][n], max(word[codec]) - _OTHER_LANGUAGE, top - _MOST_OF_A_WORD)
                for word, top in zip(scores, best, strict=True)
            )
            for n in range(len(spoken))
        ]
        found[codec] = max(totals) + _RARER.get(codec, _RARE)
    return max(found, key=lambda codec: found[codec])


def _reading(words: tuple[bytes, ...], content: bytes, codec: str) -> tuple[float, float]:
    """How usual a text is in a code page, and how usual it is at least if it is in it."""
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        return -math.inf, 0.0
    if CONTROL.search(text):
        return -math.inf, 0.0
    size = sum(len(word) - sum(map(str.isascii, _decoded(word, codec))) for word in words)
    return sum(max(_scores(word, codec)) for word in words), _PLAUSIBLE * size


def _decoded(word: bytes, codec: str) -> str:
    """A word in a code page; what was cut may end within a character."""
    decoder = getincrementaldecoder(codec)()
    return decoder.decode(word[:_LONGEST_WORD], final=len(word) <= _LONGEST_WORD)


@lru_cache(maxsize=1 << 14)
def _scores(word: bytes, codec: str) -> list[float]:
    """How usual a word is in each language of a code page."""
    spoken = languages()[codec]
    try:
        text = _decoded(word, codec)
    except UnicodeDecodeError:
        text = "\ufffd"
    if CONTROL.search(text):
        return [_UNREADABLE * len(_NOT_ASCII.findall(word)) + _ODD_SIGN] * len(spoken)
    odd = sum(_oddness(text, place) for place in range(len(text)))
    odd += _CASE * len(_NO_ACCENT.findall(text)) + _CASE * len(_HALF_KANA.findall(text))
    letters = [one for one in text if not one.isascii() and _is_letter(one)]
    return [odd + sum(map(language.weight, letters)) for language in spoken]


def _is_letter(one: str) -> bool:
    if one == _MICRO:  # Unicode calls it a letter
        return False
    return one.isalpha() or unicodedata.category(one)[0] == "M" or bool(_WIDE_SIGNS.match(one))


def _script(one: str) -> str:
    """Kind of a letter; "" for other characters."""
    if not one.isalpha():
        return ""
    if one < "\u0250" or "\u1e00" <= one <= "\u1eff":
        return "latin"
    return "alphabet" if one < "\u1100" else "wide"


def _oddness(text: str, place: int) -> float:
    """What is odd about a character beside its neighbours."""
    one, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if one.isascii() and before.isascii():
        return 0.0
    if not _is_letter(one):
        return 0.0 if one.isascii() else _sign(one, before, after)
    here, there = _script(one), _script(before)
    if unicodedata.category(one)[0] == "M":
        joined = there and (there == "latin") == (one < "\u0370")
        return 0.0 if joined or unicodedata.category(before or " ")[0] == "M" else _MIXED
    odd = 0.0
    if here and there and here != there:
        odd += _MIXED / 2 if "wide" in (here, there) else _MIXED
    elif here == there == "latin" and not one.isascii() and not before.isascii():
        odd -= 1
    if one.isupper() and not one.isascii():
        odd -= 0.3 if before.isupper() else 1.2
    if one.isupper() and before.islower():
        odd += _CASE
    if one.islower() and before.isupper() and text[place - 2 : place - 1].isupper():
        odd += _CASE / 2
    return odd if one.isascii() or here == "wide" else odd + _in_word(one, before, after)


def _in_word(one: str, before: str, after: str) -> float:
    """What is odd about the place of a letter in a word."""
    odd = 0.0
    if not _is_letter(before or " ") and not _is_letter(after or " "):
        if _script(one) == "alphabet":
            odd -= 2
        elif one.lower() not in _SINGLE:
            odd += _MIXED / 2
    if one in _FINALS and _script(after):
        odd += _MIXED
    if one in _NOT_FINALS and before and not _script(after):
        odd += _MIXED / 2
    return odd


def _sign(one: str, before: str, after: str) -> float:
    """Logarithm of the probability of a sign that is no letter."""
    left, right = before.isalnum(), after.isalnum()
    if one == "\u2019" and right:  # an apostrophe
        return -5.0 if left else _SIGN
    if one in _OPENING:
        fits = not left
    elif one == "\u2026":
        fits = True
    elif one in _CLOSING:
        fits = not right and (bool(before) or one == "\xbb")
    elif one in _HIGH:
        fits = left and not after.isalpha()
    elif one == "\xb0":
        fits = before.isdigit() or not right
    elif one == "\xb4":  # many type it for an apostrophe
        fits = (left or right) and before.isascii() and after.isascii()
    elif one == _MICRO:
        fits = not before.isalpha()
    elif one in _BETWEEN:
        fits = not (before.isalpha() and after.isalpha()) or one in "\u2013\u2014"
    elif one in _BEFORE_NUMBERS:
        fits = not before.isalpha() and not after.isalpha()
    else:
        fits = one == "\xa0"
    if fits:
        return _SIGN
    return _TURNED_SIGN if one in _EITHER and not (left and right) else _ODD_SIGN
