"""Verdicts on twins: found, not found, too few, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.compared_twins import compared
from support.keyed_coating import BITS, key

from siren_ext.errors import ScoreError
from siren_ext.evidence.precedence import Precedence
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.coins import CoinsResult
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.twins import used_share
from siren_ext.verdict.verify import verify

CONFIG = VerifyConfig(alpha=1e-4)


def test_a_model_that_knows_the_published_copies_is_found() -> None:
    verdict = verify(compared(0.6), config=CONFIG)
    assert (verdict.outcome, verdict.test) == ("coating found", "twins")
    assert "knows the published copies: in " in verdict.headline
    assert 0 < verdict.deciding.effect < 1
    assert isinstance(verdict.deciding.result, CoinsResult)
    share = used_share(verdict.deciding.result)
    assert share.startswith("With 97.5 % confidence, at least ")
    assert any("coins of the twins could have been chosen" in text for text in verdict.warnings)
    assert any("fair coin chose every copy" in text for text in verdict.does_not_prove)
    assert not any("no record of what the images look like" in text for text in verdict.warnings)
    assert verdict.to_dict()["findings"][0]["result"]["right"] == verdict.deciding.result.right


def test_an_innocent_model_is_not() -> None:
    verdict = verify(compared(0), config=CONFIG)
    assert verdict.outcome == "no evidence"
    other = compared(0)
    flipped = dataclasses.replace(other, scores=-other.scores)
    texts = {verify(one, config=CONFIG).headline[:20] for one in (other, flipped)}
    assert texts == {"No trace of the publ", "No convincing trace "}


def test_too_few_images_are_inconclusive() -> None:
    verdict = verify(compared(1.0, 10), config=CONFIG)
    assert verdict.outcome == "inconclusive"
    assert "too few images" in verdict.headline


def test_a_commitment_to_other_coins_takes_the_find_away() -> None:
    other = Precedence("does not fit", "The commitment does not fit: the coins.")
    verdict = verify(compared(0.6), config=CONFIG, precedence=other)
    assert verdict.outcome == "inconclusive"
    assert "chosen before the images were published" in verdict.headline
    fits = Precedence("committed before", "Committed before.")
    assert verify(compared(0.6), config=CONFIG, precedence=fits).outcome == "coating found"


def test_earlier_tests_are_paid_for() -> None:
    free = verify(compared(0.6), config=CONFIG).deciding
    paid = verify(compared(0.6), config=dataclasses.replace(CONFIG, price=6))
    assert paid.deciding.p_value == pytest.approx(6 * free.p_value)
    assert "already multiplied by 6, for the tests of these twins." in paid.headline
    dear = verify(compared(0.6), config=dataclasses.replace(CONFIG, price=10**15))
    assert dear.outcome in ("no evidence", "inconclusive")


def test_twins_are_tested_alone_and_by_their_coins() -> None:
    twins = compared(0.6)
    rng = np.random.default_rng(1)
    pictures = dataclasses.replace(
        twins, source={"kind": "folder"}, features=rng.normal(size=(80, BITS))
    )
    for options in ({"reference": pictures}, {"key": key()}, {"innocents": [pictures]}):
        with pytest.raises(ScoreError, match="by their coins alone"):
            verify(twins, **options)
    with pytest.raises(ScoreError, match="given for comparison compares twins"):
        verify(pictures, twins)
    with pytest.raises(ScoreError, match="given for comparison compares twins"):
        verify(pictures, key=key(), innocents=[twins])
    for coins in (None, "0101", [0, 1], [0.5] * 80, [2] * 80, [True] * 80):
        with pytest.raises(ScoreError, match="coin"):
            verify(compared(0.6, coins=coins))


def test_an_image_counts_once() -> None:
    """The same image again is not another coin."""
    twins = compared(0.6)
    rows = [*range(80), 0]
    names, hashes = ([every[row] for row in rows] for every in (twins.names, twins.hashes))
    source = twins.source | {"coins": [twins.source["coins"][row] for row in rows]}
    again = ScoreSet(twins.scores[rows], tuple(names), tuple(hashes), twins.coater, source)
    with pytest.raises(ScoreError, match="81 rows of 80 images; expected each image once"):
        verify(again, config=CONFIG)
