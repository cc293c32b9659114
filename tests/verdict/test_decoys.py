"""The rank among decoys: exact p, what counts as found, and what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.decoy_sets import ranked

from siren_ext.errors import ScoreError
from siren_ext.evidence.precedence import Precedence
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.decoys import decoys_finding, ways
from siren_ext.verdict.verify import Verdict, verify

FIRST, NINETEEN = 0.5, [0.01 * i for i in range(19)]
COMMITTED = Precedence("committed before", "Committed before.", "2026-01-01T00:00:00Z")


def judged(own: float, others: list[float], alpha: float = 0.05, **options: object) -> Verdict:
    options = {"precedence": COMMITTED} | options
    return verify(ranked(own, others), None, VerifyConfig(alpha=alpha), **options)  # type: ignore[arg-type]


def test_first_among_nineteen() -> None:
    verdict = judged(FIRST, NINETEEN)
    assert (verdict.outcome, verdict.test) == ("coating found", "decoys")
    finding = verdict.deciding
    assert finding.p_value == finding.smallest_p == 0.05
    assert (finding.suspects, finding.others, finding.effect) == (4, 19, 1)
    assert "19 of 19 decoys" in verdict.headline
    assert "of innocent models, up to the same share would count as well" in verdict.headline
    assert "nothing to do with this pattern" in verdict.headline
    assert any("nothing to do with its random pattern" in line for line in verdict.does_not_prove)
    assert not any("commitment" in line for line in verdict.warnings)


def test_decoys_that_find_as_much_count_against_the_coater() -> None:
    assert judged(0.18, NINETEEN).deciding.p_value == pytest.approx(2 / 20)
    verdict = judged(0.09, NINETEEN)
    assert verdict.outcome == "no evidence"
    assert verdict.deciding.p_value == pytest.approx(11 / 20)
    assert "9 of 19 decoys" in verdict.headline


def test_only_a_committed_coater_is_found() -> None:
    for precedence in (None, Precedence("does not fit", "Another coater.")):
        verdict = judged(FIRST, NINETEEN, precedence=precedence)
        assert verdict.outcome == "inconclusive"
        assert "no commitment to it that fits" in verdict.headline
        assert verdict.deciding.outcome == "coating found"
    assert (
        "the coater could have been chosen afterwards"
        in judged(0.0, NINETEEN, precedence=None).warnings[0]
    )


def test_few_decoys_are_inconclusive() -> None:
    verdict = judged(FIRST, NINETEEN, alpha=1e-6)
    assert verdict.outcome == "inconclusive"
    assert "even the first place among 19" in verdict.headline
    assert "Make 999,999 decoys or more" in verdict.headline


def test_earlier_tests_are_priced() -> None:
    suspect = ranked(FIRST, [0.01 * i for i in range(39)])
    for price, outcome in ((1, "coating found"), (2, "coating found"), (6, "inconclusive")):
        config = VerifyConfig(alpha=0.05, price=price)
        verdict = verify(suspect, None, config, precedence=COMMITTED)
        assert verdict.outcome == outcome
        assert verdict.deciding.p_value == pytest.approx(price / 40)
        assert ("already multiplied by" in verdict.headline) is (price > 1)
    assert "Make 119 decoys or more" in verdict.headline
    nothing = verify(ranked(0.0, NINETEEN), None, VerifyConfig(alpha=0.5, price=6))
    assert nothing.deciding.p_value == 1


def test_it_decides_before_a_comparison_with_a_reference() -> None:
    suspect = ranked(0.0, NINETEEN)
    reference = replace(ranked(0.0, [0.0], pictures=8), source={})
    verdict = verify(suspect, reference, VerifyConfig(alpha=0.05), precedence=COMMITTED)
    assert [finding.test for finding in verdict.findings] == ["decoys", "ks"]
    assert verdict.test == "decoys"


def test_copies_of_a_picture_count_once() -> None:
    suspect = ranked(0.5, [0.1], pictures=3)
    scores = [1.0, 1.0, 2.0]
    suspect.source["decoys"]["decoys"][0]["scores"] = [1.9, 1.9, 1.7]
    twice = replace(suspect, scores=np.array(scores), hashes=("a" * 64, "a" * 64, "b" * 64))
    assert ways(twice) == pytest.approx([0.5, 0.2])
    assert decoys_finding(twice, 0.5).suspects == 2


def test_scores_without_decoys_are_refused() -> None:
    with pytest.raises(ScoreError, match="There are no scores by decoys"):
        decoys_finding(replace(ranked(0.5, [0.1]), source={}), 0.05)


def test_p_has_its_size_whatever_the_pictures() -> None:
    """Coaters drawn alike: the first of K + 1 takes each place equally often."""
    rng = np.random.default_rng(1)
    places = []
    for _ in range(2000):
        style = rng.normal() * 5  # of the pictures; the same for all coaters
        own, *others = (style * rng.normal(size=10) + rng.normal(size=10)).tolist()
        places.append(decoys_finding(ranked(own, others, pictures=1), 0.5).p_value)
    for level in (0.1, 0.2, 0.5):
        share = float(np.mean(np.array(places) <= level + 1e-9))
        assert abs(share - level) < 4 * (level * (1 - level) / len(places)) ** 0.5
