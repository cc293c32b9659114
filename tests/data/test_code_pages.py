"""The code page of texts is the one in which they are most usual together."""

from __future__ import annotations

import random
import time

import pytest

from siren_ext.data.code_pages import CodePage

# A fox in the snow, an old man, a house and the like.
SETS = {
    "cp1250": ["star\xfd mu\u017e", "\u0159eka", "zimn\xed krajina, sn\xedh", "m\u011bsto v noci"],
    "cp1251": ["\u043c\u043e\u0440\u0435", "\u0434\u043e\u043c \u0443 \u0440\u0435\u043a\u0438"],
    "cp1252": ["\xf6", "r\xf6d r\xe4v i sn\xf6n", "sm\xe5stad p\xe5 vintern"],
    "cp1253": ["\u03b3\u03ac\u03c4\u03b1", "\u03c3\u03c0\u03af\u03c4\u03b9"],
    "cp1255": ["\u05d9\u05dd", "\u05d0\u05d9\u05e9 \u05d6\u05e7\u05df, 1girl"],
    "cp1256": ["\u0627\u0645\u0631\u0623\u0629", "\u0635\u0648\u0631\u0629 \u0642\u0637\u0629"],
    "cp1257": ["kat\u0117", "\u017e\u0105sis, \u0161uo", "raudona lap\u0117 sniege"],
    "cp932": ["\u732b", "1girl, \u6771\u65b9", "\uff71\uff86\uff92"],
    "gb18030": ["\u5973\u5b69", "\u6d77", "\u767d\u53d1\u5973\u5b69, \u5fae\u7b11"],
    "cp949": ["\uac1c", "\uace0\uc591\uc774", "\ub178\uc778"],
    "koi8_r": ["\u043a\u043e\u0442", "\u043d\u043e\u0447\u044c"],
}


@pytest.mark.parametrize("codec", SETS)
def test_all_texts_of_a_set_are_in_its_code_page(codec: str) -> None:
    texts = [text.encode(codec) for text in SETS[codec]]
    assert list(map(CodePage(texts).of, texts)) == [codec] * len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "\xbd cup, 3\xd74 m",
        "20\xb0C",
        "it\xb4s",
        "\xa9 2024 \u2013 all rights",
        "50 m\xb2",
        "\u2026",
        "fox\u2026dog",
        "a \u201850s diner",
        "5 \xb5m",
        "Guns N\u2019 Roses",
        "rock \u2019n\u2019 roll poster",
    ],
)
def test_signs_are_western(text: str) -> None:
    assert CodePage().of(text.encode("cp1252")) == "cp1252"


@pytest.mark.parametrize(
    "texts",
    [
        ["non \xe8 un cane", "pu\xf2", "citt\xe0 \xabeterna\xbb"],
        ["d'op\xe9rer", "r\xe8gle \xab douce \xbb"],
        ["filen \u201dhund\u201d", "en r\xe4v", "p\xe5 bron"],
        ["ein \xbbHund\xab", "\u201eM\xe4dchen\u201c am Fluss"],
        ["Ha\xefti", "Rhodesi\xeb", "co\xf6rdinatie"],
    ],
)
def test_western_languages_with_their_quotation_marks(texts: list[str]) -> None:
    contents = [text.encode("cp1252") for text in texts]
    assert list(map(CodePage(contents).of, contents)) == ["cp1252"] * len(texts)


def test_a_word_that_is_often_repeated_counts_once() -> None:
    texts = ["ohwx k\xf6pek"] * 40 + ["\u0131\u015f\u0131k, g\xfcne\u015f", "k\u0131z"]
    similar = CodePage(text.encode("cp1254") for text in texts)
    assert similar.of("k\u0131z".encode("cp1254")) == "cp1254"


def test_a_text_that_can_not_be_like_the_others_is_read_by_itself() -> None:
    russian = (
        "\u0434\u0435\u0432\u0443\u0448\u043a\u0430 \u043d\u0430 \u043c\u043e\u0441\u0442\u0443"
    )
    japanese = "\u72d0\u306e\u7d75\u3001\u6d77".encode("cp932")
    similar = CodePage([*[russian.encode("cp1251")] * 3, japanese])
    assert similar.of(japanese) == "cp932"
    assert similar.of(russian.encode("cp1251")) == "cp1251"


def test_what_is_plausible_in_no_code_page_is_not_known() -> None:
    assert CodePage().of(bytes(range(0x80, 0x100))) is None
    assert CodePage().of(b"\x01\xe9") is None


def test_many_texts_take_little_time() -> None:
    texts = [f"\xe9t\xe9 {number} d\xe9j\xe0 vu{number}".encode("cp1252") for number in range(3000)]
    shared, start = CodePage(texts), time.process_time()
    assert set(map(shared.of, texts)) == {"cp1252"}
    assert time.process_time() - start < 10


def test_many_odd_texts_take_little_time() -> None:
    rng, texts = random.Random(0), ["\u043a\u043e\u0442".encode("cp1251")]
    for _ in range(500):
        texts.append(bytes(rng.randrange(0x80, 0x100) for _ in range(4000)))
    shared, start = CodePage(texts), time.process_time()
    for text in texts:
        shared.of(text)
    assert time.process_time() - start < 20
