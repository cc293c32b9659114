"""Every test of a filed key is counted and priced, whatever makes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.compared_twins import compared
from support.evidence_samples import SIGNS, known_key
from support.score_sets import drawn

from siren_ext.evidence.counting import FiledKey, counted
from siren_ext.evidence.ledger import ledger_of, read_ledger, start_ledger, suspect_digest
from siren_ext.evidence.precedence import not_committed
from siren_ext.scoring.score_set import PREFERENCE


@pytest.fixture
def key(tmp_path):
    start_ledger(tmp_path / "keys.json")
    return FiledKey(known_key(), tmp_path / "keys.json", 3)


def test_a_filed_key_is_the_key_and_no_more_is_shown(key):
    assert key == known_key()
    assert (key.signs() == SIGNS).all()
    assert repr(key) == repr(known_key())
    with pytest.raises(AttributeError):
        key.file = "elsewhere"


def test_tests_are_counted_and_priced_by_number_and_keys(key):
    for number in (1, 2, 3):
        found, price = counted(key, drawn(5, seed=number), None)
        assert found is not None
        assert (found.number, found.keys, price) == (number, 3, 3 * number * (number + 1))
        assert f"This is test {number} of the key file" in found.text
    committed = replace(not_committed(keyed=True), keys=10_000)
    assert counted(key, drawn(5, seed=3), committed)[1] == 10_000 * 12


def test_a_key_without_a_file_costs_what_the_commitment_says(tmp_path):
    assert counted(known_key(), drawn(5), None) == (None, 1)
    committed = replace(not_committed(keyed=True), keys=7)
    assert counted(known_key(), drawn(5), committed) == (committed, 7)
    assert counted(None, drawn(5), committed) == (committed, 1)
    assert not list(tmp_path.iterdir())


def test_nothing_is_entered_if_no_test_is_possible(key):
    bare = replace(drawn(5), features=None)
    assert counted(key, bare, None) == (None, 1)
    assert len(read_ledger(ledger_of(key.file))[0]) == 1


def test_preferences_of_two_models_are_two_tests():
    """Both are measured on the same images of the owner."""
    first = replace(drawn(5, seed=1), source={"kind": PREFERENCE})
    second = replace(first, scores=first.scores + 0.125)
    assert first.hashes == second.hashes
    assert suspect_digest(first) != suspect_digest(second)


def test_tests_of_twins_are_counted_beside_their_commitment(tmp_path):
    """Both compare the same images of the owner."""
    first = replace(compared(0.6), features=None)
    second = replace(first, scores=first.scores + 0.125)
    file = tmp_path / "commitment.json"
    start_ledger(file)
    committed = replace(not_committed(keyed=False), keys=7)
    rows = ((first, 1, 2, ""), (second, 2, 6, ""), (first, 1, 2, " again"))
    for scores, number, price, again in rows:
        found, paid = counted(None, scores, committed, file)
        assert found is not None
        assert (found.number, paid) == (number, price)  # the keys have no part in it
        assert f"test {number} of the commitment{again}; p is multiplied by {price}." in found.text
    assert counted(None, first, committed) == (committed, 1)
    assert counted(None, first, None, file) == (None, 1)
    ledger_of(file).unlink()
    found, _ = counted(None, first, committed, file)
    assert found is not None
    assert "so earlier tests of twins' coins are not known" in found.text
