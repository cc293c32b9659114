"""Verdicts from several tests: which one decides, and how often innocents are accused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.evidence_samples import SIGNS, known_key
from support.score_sets import PLAN, drawn

from siren_ext.errors import ScoreError
from siren_ext.evidence.commitment import Precedence
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.stats.keyed import keyed_test
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import strictest
from siren_ext.verdict.outcomes import LOWER
from siren_ext.verdict.verify import verify
from siren_ext.verdict.wording import UNFIT

QUICK = VerifyConfig()
COMMITTED = Precedence("committed before", "Committed before: the key.", "2026-01-01T00:00:00Z")


def innocents(count=9, n=40, mean=10.0):
    return [drawn(mean, n, seed=100 + i, features=None) for i in range(count)]


def test_a_guilty_model_needs_no_reference_with_a_key():
    verdict = verify(drawn(5, lean=SIGNS), None, QUICK, key=known_key(), precedence=COMMITTED)
    assert verdict.outcome == "coating found"
    assert (verdict.test, len(verdict.findings)) == ("keyed", 1)
    keyed = verdict.deciding
    assert keyed.p_value <= 1e-6
    assert keyed.result.bits_right >= 45
    assert (keyed.suspects, keyed.others) == (40, 0)
    assert "carry the secret message" in verdict.headline
    assert "fit the key better than the accepted risk of 1 in 1 million allows" in verdict.headline
    assert "random keys would fit these pictures as well" in verdict.headline
    assert "chance" not in verdict.headline
    assert "keyed test, the strictest test that the data allow" in verdict.headline
    assert verdict.warnings == ()
    assert any("drawn at random before" in line for line in verdict.does_not_prove)
    assert verdict.to_dict()["finding"] is None
    with pytest.raises(ScoreError, match="without a reference"):
        verdict.finding  # noqa: B018 - the property raises


def test_the_figures_are_those_of_the_statistics():
    suspect = drawn(5, lean=SIGNS)
    direct = keyed_test(suspect.features, SIGNS)
    finding = verify(suspect, None, QUICK, key=known_key()).deciding
    assert finding.result == direct
    assert finding.key == known_key().fingerprint()
    assert list(finding.strengths) == sorted(finding.strengths)
    assert sum(finding.strengths) == direct.span
    assert all(type(value) is int for value in finding.strengths)


def test_the_strictest_that_can_reach_alpha_decides_not_the_one_with_the_best_p():
    """An innocent model of another style: lower scores than reference and panel, yet no message."""
    suspect = drawn(5, style=2.0)
    verdict = verify(
        suspect, drawn(10, 120, seed=1), QUICK, key=CoatingKey.draw(), innocents=innocents()
    )
    by_test = {finding.test: finding for finding in verdict.findings}
    assert list(by_test) == ["keyed", "rank", "ks"]
    assert by_test["ks"].outcome == LOWER
    assert by_test["ks"].p_value < by_test["keyed"].p_value
    assert by_test["rank"].outcome == "inconclusive", "ten models can't reach 1e-6"
    assert (verdict.outcome, verdict.test) == ("no evidence", "keyed")
    assert any("findings differ" in w and "reference model says" in w for w in verdict.warnings)
    assert any("10 %; 999,999 would be needed" in w for w in verdict.warnings)


def test_a_stricter_test_that_cannot_reach_alpha_leaves_the_verdict_open():
    """Accepting a smaller risk never selects a laxer test."""
    verdict = verify(drawn(5), drawn(10, 120, seed=1), innocents=innocents())
    assert (verdict.test, verdict.outcome) == ("rank", "inconclusive")
    assert [finding.outcome for finding in verdict.findings] == ["inconclusive", LOWER]
    unkeyed = drawn(5, features=None)
    verdict = verify(unkeyed, None, VerifyConfig(alpha=0.1), innocents=innocents())
    assert (verdict.test, verdict.outcome) == ("rank", "scores lower than these innocent models")
    assert "rank among innocent models" in verdict.headline
    assert "Only the keyed test shows that your coating was found." in verdict.headline
    verdict = verify(drawn(10, features=None), None, VerifyConfig(alpha=0.1), innocents=innocents())
    assert (verdict.test, verdict.outcome) == ("rank", "no difference found")
    verdict = verify(drawn(5), None, innocents=innocents())
    assert (verdict.test, verdict.outcome) == ("rank", "inconclusive")
    assert "too few innocent models" in verdict.headline
    short = drawn(5, features=np.ones((40, 8)))
    verdict = verify(short, None, QUICK, key=CoatingKey([1] * 8))
    assert (verdict.test, verdict.outcome) == ("keyed", "inconclusive")
    assert "No test of so few bits can reach this" in verdict.headline
    assert any("so few bits" in w for w in verdict.warnings)


def test_a_keyed_coater_without_the_key_finds_nothing():
    """Whoever has the key can't leave it out because the test with it found nothing."""
    low, reference = drawn(5), drawn(10, 120, seed=1)
    with_key = verify(low, reference, QUICK, key=known_key())
    assert (with_key.test, with_key.outcome, with_key.withheld) == ("keyed", "no evidence", False)
    for verdict in (
        verify(low, reference),
        verify(low, None, VerifyConfig(alpha=0.1), innocents=innocents()),
    ):
        assert (verdict.outcome, verdict.withheld) == ("inconclusive", True)
        assert verdict.headline.startswith("The key was withheld.")
        assert any(text.startswith("Key withheld:") for text in verdict.warnings)
    equal = verify(drawn(10), reference)
    assert (equal.outcome, equal.withheld) == ("no difference found", True)
    assert any(text.startswith("Key withheld:") for text in equal.warnings)
    unkeyed = verify(drawn(5, features=None), reference)
    assert (unkeyed.outcome, unkeyed.withheld) == (LOWER, False)
    assert not any("Key withheld" in text for text in unkeyed.warnings)


def test_the_choice_looks_at_what_was_supplied_only():
    """Whatever p is, the order of the tests stays."""
    verdicts = [
        verify(drawn(5, seed=s), drawn(10, 120, seed=1), QUICK, key=known_key()) for s in (0, 7)
    ]
    verdicts.append(verify(drawn(5, lean=SIGNS), drawn(1, 120, seed=1), QUICK, key=known_key()))
    assert {verdict.test for verdict in verdicts} == {"keyed"}
    assert strictest(tuple(reversed(verdicts[0].findings))).test == "keyed"


def test_without_a_commitment_the_verdict_says_so():
    said = "No commitment: the key could have been chosen afterwards."
    verdict = verify(drawn(5, lean=SIGNS), None, QUICK, key=known_key())
    assert verdict.precedence.text == said
    assert verdict.warnings[0] == said
    assert "coater could" in verify(drawn(5), drawn(10, 120, seed=1)).precedence.text
    unfit = Precedence("does not fit", "The commitment does not fit: x.")
    verdict = verify(drawn(5), drawn(10, 120, seed=1), precedence=unfit)
    assert verdict.warnings[0] == unfit.text


def test_a_key_that_the_commitment_is_not_to_finds_nothing():
    """A key that was crafted or picked afterwards fits the images, but not the commitment."""
    unfit = Precedence("does not fit", "The commitment does not fit: x.")
    verdict = verify(drawn(5, lean=SIGNS), None, QUICK, key=known_key(), precedence=unfit)
    assert verdict.deciding.outcome == "coating found"
    assert (verdict.outcome, verdict.headline) == ("inconclusive", UNFIT)
    assert verdict.warnings[0] == unfit.text
    innocent = verify(drawn(5), None, QUICK, key=known_key(), precedence=unfit)
    assert innocent.outcome == "no evidence"


@pytest.mark.parametrize(
    ("suspect", "others", "words"),
    [
        (drawn(5, 29, lean=SIGNS), [], "Only 29 suspect images"),
        (drawn(5, lean=SIGNS, failures=(("x", "y"),)), [], "1 suspect image could not"),
        (drawn(5, lean=SIGNS, hashes=("a" * 64,) * 40, scores=np.ones(40)), [], "39 are exact"),
        (drawn(5), [drawn(5), drawn(9, seed=3)], "pools are identical"),
        (drawn(5), [drawn(9, 20, seed=3)], "Only the first 20 images of each model"),
        (drawn(5), [drawn(9, seed=3, source={})], "prompts are not recorded"),
        (
            drawn(5),
            [drawn(9, seed=3, source=PLAN | {"prompts": ["cat"]})],
            "1 innocent model was used with other prompts",
        ),
        (drawn(5), [drawn(9, seed=3), drawn(9, seed=4, coater="cd" * 32)], "another coater than"),
    ],
)
def test_warnings(suspect, others, words):
    config = VerifyConfig(alpha=0.5)
    verdict = verify(suspect, None, config, key=known_key(), innocents=others)
    assert any(words in warning for warning in verdict.warnings), verdict.warnings


def test_innocents_count_with_equally_many_images():
    """The mean of 20 images among means of 20, whatever the pools hold beyond."""
    long = drawn(5, 60, seed=2)
    verdict = verify(long, None, VerifyConfig(alpha=0.3), innocents=innocents(4, n=20))
    assert verdict.deciding.suspects == 20
    assert verdict.deciding.result.smallest_p == 1 / 5


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(ScoreError, match="nothing to compare"):
        verify(drawn(5))
    with pytest.raises(ScoreError, match="have no features"):
        verify(drawn(5, features=None), None, QUICK, key=known_key())
    with pytest.raises(ScoreError, match="has shape"):
        verify(drawn(5), None, QUICK, key=CoatingKey.draw(32))
    with pytest.raises(ScoreError, match="different coaters"):
        verify(drawn(5), None, innocents=[drawn(9, seed=3, coater="cd" * 32)])
    with pytest.raises(ScoreError, match="Innocent models 1 and 2 are the same images"):
        verify(drawn(5), None, innocents=[drawn(9, seed=3)] * 2)


def test_copies_are_no_evidence_for_a_key_either():
    once = drawn(5, 1, lean=SIGNS)
    many = drawn(
        5,
        40,
        hashes=once.hashes * 40,
        scores=np.repeat(once.scores, 40),
        features=np.repeat(once.features, 40, axis=0),
    )
    first, second = (verify(p, None, QUICK, key=known_key()).deciding for p in (once, many))
    assert second.result == first.result


def test_false_accusations_stay_below_alpha_whatever_the_style():
    """One innocent model of a strong style against 300 keys: the reference test would accuse."""
    suspect = drawn(5, style=3.0)
    config = VerifyConfig(alpha=0.1)
    found = [
        verify(suspect, None, config, key=CoatingKey.draw()).outcome == "coating found"
        for _ in range(300)
    ]
    assert 0 < sum(found) <= 300 * 0.1 + 4 * np.sqrt(300 * 0.09)


def test_no_output_of_a_verdict_tells_the_message():
    verdict = verify(drawn(5, lean=SIGNS), None, QUICK, key=known_key())
    text = json.dumps(verdict.to_dict()) + repr(verdict)
    bits = "".join("1" if sign > 0 else "0" for sign in SIGNS)
    signs = ",".join(map(str, SIGNS))
    hidden = (bits, np.packbits(SIGNS > 0).tobytes().hex(), signs)
    assert not any(way in text.replace(" ", "") for way in hidden)
    assert np.all(np.array(verdict.deciding.strengths) >= 0), "signs of F would tell the message"
