# ruff: noqa: RUF001 - the multiplication sign is meant
"""Numbers in words."""

from __future__ import annotations

import re

import pytest
from support.evidence_samples import SIGNS, known_key
from support.score_sets import drawn

from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify
from siren_ext.verdict.wording import likelihood, odds


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1.0, "100 %"),
        (0.266, "27 %"),
        (0.05, "5 %"),
        (0.04, "1 in 25"),
        (1e-3, "1 in 1,000"),
        (1.01e-3, "1 in 990"),
        (1e-6, "1 in 1 million"),
        (1 / 3.5e6, "1 in 3.5 million"),
        (1 / 35e9, "1 in 35 billion"),
        (1 / 350e12, "1 in 350 trillion"),
        (1e-15, "1 in 10¹⁵"),
        (2.87e-43, "1 in 3.5 × 10⁴²"),
        (1 / 3.5e5, "1 in 350,000"),
        (1e-299, "1 in 10²⁹⁹"),
        (1e-300, "less than 1 in 10³⁰⁰"),
    ],
)
def test_odds_read_well(p, text):
    assert odds(p) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.3, "possible"),
        (0.05, "unlikely"),
        (1e-3, "very unlikely"),
        (1e-6, "extremely unlikely"),
        (1.1e-12, "extremely unlikely"),
        (1e-12, "practically impossible"),
        (1e-300, "practically impossible"),
    ],
)
def test_small_chances_are_called_so(p, text):
    assert likelihood(p) == text


def test_words_of_the_keyed_test_with_a_price() -> None:
    """What counts is p with the price; how many keys fit is the share without it."""
    suspect = drawn(5, lean=0.08 * SIGNS)
    p = verify(suspect, key=known_key()).deciding.p_value
    assert 0.05 < p < 0.5
    config = VerifyConfig(price=100)
    text = verify(suspect, config=config, key=known_key()).headline
    assert f"{100 * p:.0f} % of random keys would fit these pictures as well, and times 100" in text
    assert "half of all random keys" not in text
    strong = verify(drawn(5, lean=SIGNS), config=config, key=known_key())
    assert re.search(r": 1 of [\d.]+ (m|b|tr)illion random keys would fit", strong.headline)
    assert "for the number of keys and tests, this is 1 in " in strong.headline
