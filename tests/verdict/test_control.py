"""What the positive control does to a verdict."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.evidence_samples import SIGNS, known_key
from support.reports import resealed, states, texts
from support.score_sets import drawn

from siren_ext.errors import ScoreError
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.control import control_message
from siren_ext.stats.keyed import keyed_test
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


def unread(seed=3, **changes):
    """Pictures in which the coater reads nothing, whatever is written into them."""
    return drawn(5, control=np.random.default_rng(seed).normal(size=(40, 48)), **changes)


def test_nothing_found_where_nothing_can_be_read_is_inconclusive():
    verdict = verify(unread(), key=known_key())
    assert (verdict.outcome, verdict.test) == ("inconclusive", "keyed")
    assert verdict.headline.startswith("This coater can't read pictures of this kind")
    assert not any("can't be reached" in text for text in verdict.warnings)
    assert verify(drawn(5), key=known_key()).outcome == "no evidence"


def test_the_control_has_the_bar_of_the_test():
    """One that is found at .05 is none for a test at 1e-6, and the price counts for it as well."""
    weak = drawn(5, control=0.1 * control_message("ab" * 32, 48) + drawn(5, seed=9).features)
    p = verify(weak, key=known_key()).deciding.control.result.p_value
    assert 1e-6 < p < 1e-3
    assert p == keyed_test(weak.control, control_message(weak.coater, 48)).p_value
    outcomes = [
        verify(weak, None, VerifyConfig(alpha=alpha, price=price), key=known_key()).outcome
        for alpha, price in ((1e-6, 1), (1e-3, 1), (1e-3, 1_000_000))
    ]
    assert outcomes == ["inconclusive", "no evidence", "inconclusive"]


def test_a_find_needs_no_control_but_says_if_it_was_missed():
    verdict = verify(unread(lean=SIGNS), key=known_key())
    assert verdict.outcome == "coating found"
    assert any("does not weaken the find" in text for text in verdict.warnings)
    found = verify(drawn(5, lean=SIGNS), key=known_key())
    assert not any("control" in text for text in found.warnings)


def test_scores_without_a_control_say_so():
    verdict = verify(drawn(5, control=None), key=known_key())
    assert verdict.outcome == "no evidence"
    assert any("There is no positive control" in text for text in verdict.warnings)
    with pytest.raises(ScoreError, match="positive control has shape"):
        verify(drawn(5, control=np.ones((40, 8))), key=known_key())


def test_a_report_holds_the_control_and_its_check_computes_it_again(tmp_path):
    suspect = unread()
    write_report(verify(suspect, key=known_key()), suspect, None, tmp_path)
    assert "Positive control" in (tmp_path / "report.html").read_text("utf-8")
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert "control" not in data["suspect"]["images"][0]
    kept = data["verdict"]["findings"][0]["control"]
    assert kept["strengths"] == sorted(kept["strengths"])
    assert check_report(tmp_path).sound
    assert states(check_report(tmp_path, key=known_key(), suspect=suspect))["figures"] == "matches"
    for change, words in (
        (lambda one: one["control"].update(p_value=1e-9), "keyed finding.control.p_value"),
        (lambda one: one["control"].update(statistic=1e6), "positive control is larger"),
        (lambda one: one["control"]["strengths"].pop(), "control"),
        (lambda one: one.pop("control"), "verdict.outcome is inconclusive"),
    ):
        before = (tmp_path / "report.json").read_bytes()
        found = resealed(tmp_path, lambda d, change=change: change(d["verdict"]["findings"][0]))
        assert not found.sound
        assert words in " ".join(texts(found).values())
        (tmp_path / "report.json").write_bytes(before)
