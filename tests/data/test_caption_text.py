"""Encodings of captions are found, or refused by name."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siren_ext.data.caption_text import decode_text, has_text
from siren_ext.data.code_pages import CodePage

WESTERN = [
    "the artist\u2019s caf\u00e9, \u00e9t\u00e9",
    "caf\u00e9",
    "\u00e9",
    "a girl, na\u00efve, tr\u00e8s jolie",
    "M\u00e4dchen im Wald, \u00d6l auf Leinwand",
    "\u201cquoted\u201d caption \u2013 with dashes\u2026",
    "Se\u00f1or ni\u00f1o, \u00bfqu\u00e9? \u00a1ol\u00e9!",
    "sunset 100\u00b0, 30 \u00d7 40 cm, a 50\u20ac note",
    "\u00a9 2024 Zo\u00eb",
    "\u00c9T\u00c9 \u00c0 LA PLAGE, \u00c4\u00d6\u00dc",
    "\u0153uvre d\u2019art",
    "\u00ab \u00e9t\u00e9 \u00bb",
]
JAPANESE = [
    "\u72d0\u306e\u7d75",
    "1girl, \u9752\u3044\u7a7a, \u30bd\u30ed",
    "\u732b",
    "\u6d6e\u4e16\u7d75\u3001\u5317\u658e",
    "\u5915\u713c\u3051\u306e\u6d77\u3001\u6ce2\u3001\u6c34\u5f69\u753b\u98a8\u306e\u4f5c\u54c1\u3002",
    "\u6771\u4eac\u30bf\u30ef\u30fc",
    "\u9280\u9aea, \u8d64\u3044\u76ee",
]
RUSSIAN = [
    "\u0434\u0435\u0432\u0443\u0448\u043a\u0430 \u0432 \u043b\u0435\u0441\u0443",
    "\u0412\u043e\u043b\u043a, 1girl",
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_texts(text: str) -> None:
    assert decode_text(text.encode("cp1252"))[0] == text


@pytest.mark.parametrize("text", JAPANESE)
@pytest.mark.parametrize("codec", ["cp932", "euc_jp"])
def test_japanese_texts(text: str, codec: str) -> None:
    if codec == "euc_jp" and not any("\u3041" <= letter <= "\u30fa" for letter in text):
        pytest.skip("could as well be Chinese")
    assert decode_text(text.encode(codec)) == (text, codec)


@pytest.mark.parametrize("text", RUSSIAN)
def test_russian_texts(text: str) -> None:
    assert decode_text(text.encode("cp1251")) == (text, "cp1251")


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp949", "\uc5ec\uc790\uac00 \uc232\uc5d0 \uc788\ub2e4"),
        ("gb18030", "\u5c0f\u5973\u5b69\u5728\u68ee\u6797\u91cc"),
        ("cp1250", "za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144"),
    ],
)
def test_other_texts_by_their_letters(codec: str, text: str) -> None:
    assert decode_text(text.encode(codec)) == (text, codec)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1250", "ma\u0142a dziewczynka, d\u0142ugie w\u0142osy"),
        ("cp1250", "\u010cerven\xe1 li\u0161ka v lese"),
        ("cp1250", "\u0151szi erd\u0151"),
        (
            "cp1251",
            "\u0440\u0443\u0434\u0430 \u043b\u0438\u0441\u0438\u0446\u044f \u0432 "
            "\u0441\u043d\u0456\u0433\u0443",
        ),
        ("koi8_r", "\u043a\u0440\u0430\u0441\u043d\u0430\u044f \u043b\u0438\u0441\u0430"),
        (
            "cp1253",
            "\u03bc\u03b9\u03b1 \u03ba\u03cc\u03ba\u03ba\u03b9\u03bd\u03b7 "
            "\u03b1\u03bb\u03b5\u03c0\u03bf\u03cd",
        ),
        ("cp1254", "g\xfcne\u015f \u0131\u015f\u0131\u011f\u0131 alt\u0131nda"),
        ("gb18030", "\u5973\u5b69\uff0c\u957f\u53d1\uff0c\u84dd\u773c\u775b"),
        ("big5", "\u4e00\u96bb\u72d0\u72f8"),
    ],
)
def test_neighbouring_languages_are_not_confused(codec: str, text: str) -> None:
    assert decode_text(text.encode(codec)) == (text, codec)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1255", "\u05e9\u05d5\u05e2\u05dc"),
        ("cp1255", "\u05d7\u05ea\u05d5\u05dc \u05e9\u05d7\u05d5\u05e8, 1girl"),
        (
            "koi8_u",
            "\u0440\u0443\u0434\u0430 \u0457\u0436\u0430\u043a, \u043b\u0456\u0441",
        ),
        ("koi8_r", "\u041b\u0418\u0421\u0410 \u0412 \u041b\u0415\u0421\u0423"),
        ("cp866", "\u0440\u044b\u0436\u0430\u044f \u043b\u0438\u0441\u0430"),
        ("iso8859_5", "\u0440\u044b\u0436\u0430\u044f \u043b\u0438\u0441\u0430"),
        ("mac_cyrillic", "\u0440\u044b\u0436\u0430\u044f \u043b\u0438\u0441\u0430"),
        ("iso8859_2", "\u015bwie\u017ce \u017ad\u017ab\u0142a"),
        ("cp1257", "lap\u0117 s\u0117di \u0105\u017euolo \u0161e\u0161\u0117lyje"),
        ("cp850", "un caf\xe9 pr\xe8s d'une for\xeat, \xe9t\xe9"),
        ("cp850", "M\xe4dchen, gr\xfcne Wiese"),
        ("mac_roman", "un caf\xe9 pr\xe8s d\u2019une for\xeat, \xe9t\xe9"),
        ("mac_roman", "sch\xf6ne gr\xfcne Wiese"),
        ("cp1257", "sarkana lapsa me\u017e\u0101, \u0137er\u0161ana"),
    ],
)
def test_rarer_code_pages(codec: str, text: str) -> None:
    assert decode_text(text.encode(codec)) == (text, codec)


def test_escape_sequences_of_japanese_mail() -> None:
    assert decode_text("fox \u72d0".encode("iso2022_jp")) == ("fox \u72d0", "ISO-2022-JP")


def test_a_short_text_is_read_as_similar_ones() -> None:
    fox, girl = "\u72d0\u72f8".encode("gb18030"), "\u5c0f\u5973\u5b69\u5728\u68ee\u6797\u91cc"
    assert decode_text(fox, CodePage([girl.encode("gb18030")])) == ("\u72d0\u72f8", "gb18030")


@pytest.mark.parametrize("text", [*WESTERN, *JAPANESE, *RUSSIAN, "plain words", ""])
@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
def test_unicode_with_and_without_a_mark(text: str, codec: str, name: str) -> None:
    assert decode_text(text.encode(codec)) == (text, name)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "a fox, a den",
        "fox",
        "caf\xe9 \u2013 \u72d0",
        "\u72d0\u306e\u7d75",  # has no zeros, and is plausible in cp1252
        "\u30ad\u30c4\u30cd",
        "\u300c\u72d0\u300d",
        "\u4e00\u53ea\u72d0\u72f8",  # its zero is that of a letter
        "\u5973\u5b69\uff0c\u957f\u53d1",
    ],
)
def test_utf_16_without_a_mark(codec: str, text: str) -> None:
    assert decode_text(text.encode(codec)) == (text, "UTF-16")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfea", b"\x00\x01\x02", b"\xef\xbb\xbf\xff", b"\x89PNG\r\n\x1a\n\x00", b"\x01"],
)
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"encoding is not known|control characters"):
        decode_text(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a fox", True), (b"\xe9t\xe9", True), (b" \n", False), (b"\xff\xfe", False), (b"\1", False)],
)
def test_a_file_has_text_or_not(content: bytes, expected: bool) -> None:
    assert has_text(content) is expected


@given(st.binary(max_size=300))
def test_any_bytes_become_a_clean_text_or_are_refused(content: bytes) -> None:
    try:
        text, _ = decode_text(content)
    except ValueError:
        return
    assert "\ufffd" not in text
    assert "\0" not in text


@pytest.mark.parametrize(
    "content",
    [b"1\xb0 " * 20000 + b"\x81", b"\xe9" * 65000, b"\xe0\xe1" * 30000, b"\x8c\xcf" * 30000],
)
def test_long_texts_take_no_time(content: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(ValueError):
        decode_text(content)
    assert time.process_time() - start < 5
