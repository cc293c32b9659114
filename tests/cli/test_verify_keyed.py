"""The command ``verify`` with keys, commitments and innocent models."""

from __future__ import annotations

import json

import pytest
from support.evidence_samples import PASSPHRASE
from support.key_commands import env, refused
from support.score_sets import drawn

from siren_ext.keys.coating_key import KeyRing

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_without_a_commitment_it_is_said(work, call):
    ring = KeyRing.draw()
    ring.save(work / "keys.json", PASSPHRASE)
    drawn(5, lean=ring.key().signs()).save(work / "scores.json")
    arguments = ["--suspect", "scores.json", "--key", "keys.json", "--out", "r", *env()]
    code, _, told = call("verify", *arguments)
    assert code == 0
    assert told.count("No commitment: the key could have been chosen afterwards.") == 1


def test_verify_shows_every_finding(work, call):
    for name, scores in (("s", drawn(5)), ("r", drawn(10, 110, seed=1)), ("i", drawn(10, seed=2))):
        scores.save(work / f"{name}.json")
    files = ["--suspect", "s.json", "--reference", "r.json", "--innocent", "i.json", "--out", "x"]
    code, out, told = call("verify", *files)
    assert code == 0
    assert "\ncomparison with a reference model: scores lower than this reference, p = " in out
    assert "\nrank among innocent models: inconclusive, p = 0.5, 0 of 1 innocent models" in out
    assert "Note: With 1 innocent model the risk can't be lower than 50 %" in told
    code, _, told = call("report", "check", "x")
    assert (code, told) == (3, "Not checked: signature.\n")


@pytest.mark.parametrize("option", ["--innocent", "--reference"])
def test_one_model_is_not_taken_for_several(work, call, option):
    for name, scores in (("s", drawn(5)), ("i", drawn(10, seed=2)), ("j", drawn(10, seed=3))):
        scores.save(work / f"{name}.json")
    line = ("verify", "--suspect", "s.json", "--out", "x", option, "i.json", option, "j.json")
    refused(call, (*line, option, "i.json"), "models 1 and 3 are the same images")
    assert not (work / "x").exists()
    assert call(*line)[0] == 0


def test_bad_input_of_verify_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    verify = ("verify", "--suspect", "scores.json", "--out", "r")
    for arguments, words in (
        ((*verify,), "nothing to compare"),
        ((*verify, "--coated", "empty"), "compared with a --commitment"),
        ((*verify, "--key", "keys.json", *env("OTHER")), "passphrase is wrong"),
        ((*verify, "--key", "keys.json"), "no terminal to type it at"),
        ((*verify, "--sign", "keys.json", *env()), "expected 'siren_ext.signing_key'"),
        ((*verify, "--key", "keys.json", "--commitment", "keys.json", *env()), "commitment"),
        ((*verify, "--innocent", "none.json"), "can't be read"),
        (
            ("verify", "--suspect", "plain.json", "--key", "keys.json", "--out", "r", *env()),
            "have no features",
        ),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()


def test_every_test_of_a_key_is_counted_and_priced(work, call):
    code, _, _ = call("key", "new", "keys.json", "--recipient", "a", "--recipient", "b", *env())
    assert code == 0
    signs = KeyRing.load(work / "keys.json", PASSPHRASE).key("a").signs()
    values = []
    for number in (1, 2, 2):
        drawn(5, seed=number, lean=signs).save(work / "scores.json")
        arguments = ["--suspect", "scores.json", "--key", "keys.json", "--recipient", "a"]
        code, out, told = call("verify", *arguments, "--out", "r", *env())
        assert code == 0
        assert f"test {number} of the key file" in told
        stored = json.loads((work / "r" / "report.json").read_text())["verdict"]
        price = 2 * number * (number + 1)
        assert stored["settings"]["price"] == price
        keyed = stored["findings"][0]
        assert keyed["p_value"] == pytest.approx(keyed["result"]["p_value"] * price)
        assert f"p = {keyed['p_value']:.3g}" in out
        assert stored["commitment"]["number"] == number
        values.append(keyed["p_value"])
        code, out, _ = call("report", "check", "r", "--ledger", "keys.json.ledger")
        assert code == 3
        assert f"number of tests: matches. It is test {number}, and p was" in out
    assert values[1] == values[2]
    (work / "keys.json.ledger").unlink()
    _, _, told = call("verify", *arguments, "--out", "r", *env())
    assert "There was no ledger beside the key file" in told
