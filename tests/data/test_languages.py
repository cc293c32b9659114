"""Weights of letters are logarithms of probabilities, and every code page exists."""

from __future__ import annotations

import math

import pytest

from siren_ext.data.languages import UNUSUAL, languages


@pytest.mark.parametrize("codec", sorted(languages()))
def test_each_code_page_has_the_letters_of_its_languages(codec: str) -> None:
    for language in languages()[codec]:
        own = dict(language.weights)
        assert 0 < sum(map(math.exp, own.values())) < 1.2
        there = "".join(own).encode(codec, "ignore").decode(codec, "ignore")
        assert len(there) >= 0.7 * len(own), (codec, sorted(set(own) - set(there)))


def test_a_letter_has_the_weight_of_its_small_form() -> None:
    (_, german, *_) = languages()["cp1252"]
    assert german.weight("\xc4") == german.weight("\xe4") > german.weight("\u0142") == UNUSUAL


def test_frequent_characters_weigh_more_than_rare_ones() -> None:
    (chinese,) = languages()["gb18030"]
    frequent, usual, rare = (chinese.weight(letter) for letter in "\u5973\u5ba3\u9f98")
    assert frequent > usual > rare
