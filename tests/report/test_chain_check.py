"""Commitment, ledger and price in a report are checked with the files that belong to them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from support.evidence_samples import SIGNS, known_key
from support.reports import resealed, states, texts
from support.score_sets import drawn

from siren_ext.evidence.ledger import count_test, ledger_of, priced, start_ledger, suspect_digest
from siren_ext.evidence.precedence import not_committed
from siren_ext.report.chain_check import ChainEvidence
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify


@pytest.fixture
def ledger(tmp_path):
    start_ledger(tmp_path / "keys.json")
    count_test(tmp_path / "keys.json", drawn(5, seed=3), "ab" * 32)
    return tmp_path / "keys.json"


@pytest.fixture
def report(tmp_path, ledger):
    """The second test of one of three keys: p times 3 times 6."""
    suspect, key = drawn(5, lean=SIGNS), known_key()
    count = count_test(ledger, suspect, key.fingerprint())
    found, price = priced(not_committed(keyed=True), count, 3)
    assert price == 18
    config = replace(VerifyConfig(), price=price)
    verdict = verify(suspect, None, config, key=key, precedence=found)
    write_report(verdict, suspect, None, tmp_path / "r")
    return tmp_path / "r"


def test_the_ledger_confirms_the_number_of_the_test(report, ledger):
    found = check_report(report, chain=ChainEvidence(ledger=ledger_of(ledger)))
    assert found.sound
    assert states(found)["number of tests"] == "matches"
    assert "It is test 2, and p was multiplied by 18" in texts(found)["number of tests"]
    alone = check_report(report)
    assert states(alone)["number of tests"] == "not checked"
    assert {"commitment", "number of tests"} <= set(alone.unchecked)


def test_a_price_that_is_too_low_is_found(report):
    found = resealed(report, lambda d: d["verdict"]["settings"].update(price=3))
    assert states(found)["number of tests"] == "differs"
    assert "keys and tests ask for 18" in texts(found)["number of tests"]


def test_another_number_than_the_ledgers_is_found(report, ledger):
    def change(data):
        data["verdict"]["commitment"]["number"] = 1

    resealed(report, change)
    found = check_report(report, chain=ChainEvidence(ledger=ledger_of(ledger)))
    assert "no test 1 of these pictures" in texts(found)["number of tests"]


def test_a_ledger_that_was_written_anew_is_found(report, tmp_path):
    """It lists the pictures as the same test, but not the tests that were between."""
    start_ledger(other := tmp_path / "other.json")
    for scores in (drawn(5, seed=4), drawn(5, lean=SIGNS)):
        count_test(other, scores, known_key().fingerprint())
    found = check_report(report, chain=ChainEvidence(ledger=ledger_of(other)))
    assert states(found)["number of tests"] == "differs"
    assert "lacks the line that was its last one" in texts(found)["number of tests"]
    resealed(report, lambda d: d["verdict"]["commitment"].pop("ledger"))
    found = check_report(report, chain=ChainEvidence(ledger=ledger_of(other)))
    assert states(found)["number of tests"] == "differs", "whoever leaves it out hides the same"


def test_a_report_without_a_number_is_looked_up(tmp_path, ledger):
    """Whoever leaves the number out would otherwise pay for no earlier test."""
    given = ChainEvidence(ledger=ledger_of(ledger))
    suspect, key = drawn(5, lean=SIGNS), known_key()
    write_report(verify(suspect, None, key=key), suspect, None, tmp_path / "r")
    found = check_report(tmp_path / "r", chain=given)
    assert states(found)["number of tests"] == "not checked"
    assert "The ledger lacks these pictures" in texts(found)["number of tests"]
    count_test(ledger, suspect, key.fingerprint())
    found = check_report(tmp_path / "r", chain=given)
    assert states(found)["number of tests"] == "differs"
    assert "has these pictures as test 2, for which p is mult" in texts(found)["number of tests"]


def test_a_ledger_of_an_earlier_version_confirms_pictures_with_near_copies(tmp_path, monkeypatch):
    start_ledger(file := tmp_path / "old.json")
    suspect, key = drawn(5, lean=SIGNS), known_key()
    suspect = replace(suspect, phashes=(suspect.phashes[1], *suspect.phashes[1:]))
    with monkeypatch.context() as patch:
        before = partial(suspect_digest, chosen=False)
        patch.setattr("siren_ext.evidence.ledger.suspect_digest", before)
        count = count_test(file, suspect, key.fingerprint())
    found, price = priced(not_committed(keyed=True), count, 1)
    verdict = verify(suspect, None, VerifyConfig(price=price), key=key, precedence=found)
    write_report(verdict, suspect, None, tmp_path / "r")
    told = check_report(tmp_path / "r", chain=ChainEvidence(ledger=ledger_of(file)))
    assert states(told)["number of tests"] == "matches"


def test_a_broken_ledger_is_found(report, ledger):
    place = ledger_of(ledger)
    place.write_bytes(b"\n".join(place.read_bytes().splitlines()[1:]) + b"\n")
    found = check_report(report, chain=ChainEvidence(ledger=place))
    assert states(found)["number of tests"] == "differs"


def test_changed_warnings_are_found(report):
    found = resealed(report, lambda d: d["verdict"].update(warnings=[]))
    assert "verdict.warnings" in texts(found)["verdict"]
