"""The command ``trace`` names whose copy was used."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.evidence_samples import PASSPHRASE
from support.key_commands import env, refused, ways
from support.keyed_coating import key
from support.keyed_samples import coaters
from support.measurements import beside, coarse_coater, measured_with_field
from support.score_sets import drawn

from siren_ext.coater.coater import Coater
from siren_ext.keys.coating_key import KeyRing

pytestmark = pytest.mark.usefixtures("cheap", "few_messages", "secret_in_environment")


def test_recipients_are_traced(work, call):
    recipients = ("--recipient", "gallery", "--recipient", "printer")
    assert call("key", "new", "keys.json", *recipients, *env())[0] == 0
    assert call("key", "add", "keys.json", "--recipient", "shop", *env())[0] == 0
    code, out, _ = call("key", "show", "keys.json", *env())
    assert [line.split(":")[0] for line in out.splitlines()] == ["gallery", "printer", "shop"]
    ring = KeyRing.load(work / "keys.json", PASSPHRASE)
    drawn(5, lean=ring.key("printer").signs()).save(work / "scores.json")
    files = ("--suspect", "scores.json", "--key", "keys.json", *env())
    code, out, told = call("trace", *files)
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("printer  4")
    assert lines[0].endswith("<- this copy")
    assert out.count("this copy") == 1
    assert "a copy, not a culprit" in told
    assert "No commitment" in told
    code, out, told = call("trace", *files, "--json")
    found = json.loads(out)["recipients"]
    assert [row["named"] for row in found] == [True, False, False]
    assert found[0]["p_corrected"] == pytest.approx(3 * 2 * found[0]["p_value"])
    assert told.count("This is test 1 of the key file again; p is multiplied by 2.") == 1
    assert not [way for _, key in ring for way in ways(key) if way in out + told]
    drawn(5, style=2.0).save(work / "scores.json")
    code, out, _ = call("trace", *files)
    assert "No recipient stands out at a risk of 1 in 1,000." in out
    assert "this copy" not in out
    verify = ("verify", "--out", "r", *files[:4], *env())
    assert "several keys; name one of its recipients: gallery, printer, shop" in call(*verify)[2]
    assert call(*verify, "--recipient", "shop")[0] == 0


def test_a_measurement_of_a_file_is_tested_as_verify_does(work, call):
    coater = coarse_coater()
    coater.save(work / "coater.safetensors")
    keys = KeyRing((name, key(number)) for number, name in enumerate(("a", "b", "c")))
    keys.save(work / "keys.json", PASSPHRASE)
    measured_with_field(coater, learnt=1, other=1.0).save(work / "preference.json")
    files = ("--suspect", "preference.json", "--key", "keys.json", *env())
    refused(call, ("trace", *files), "Give its file with --coater")
    with_coater = (*files, "--coater", "coater.safetensors")
    found = json.loads(call("trace", *with_coater, "--json")[1])["recipients"]
    assert found[0]["recipient"] == "b"
    assert [row["named"] for row in found] == [True, False, False]
    assert call("verify", *with_coater, "--recipient", "b", "--out", "r")[0] == 0
    verdict = json.loads((work / "r" / "report.json").read_text())["verdict"]
    assert "This is test 1 of the key file again" in json.dumps(verdict)
    (finding,) = verdict["findings"]
    assert finding["whole"]["p_value"] == found[0]["p_value"] != finding["result"]["p_value"]


def test_nobody_is_named_whose_message_the_base_model_fits_too(work, call):
    coater = coarse_coater()
    coater.save(work / "coater.safetensors")
    KeyRing((name, key(number)) for number, name in enumerate(("a", "b"))).save(
        work / "keys.json", PASSPHRASE
    )
    guilty, other = (measured_with_field(coater, learnt=one, bits=3.0) for one in (1, 5))
    files = ("--suspect", "preference.json", "--key", "keys.json", *env())
    files = (*files, "--coater", "coater.safetensors")
    for base, named in ((other, True), (guilty, False)):
        beside(guilty, base).save(work / "preference.json")
        code, out, told = call("trace", *files)
        assert code == 0
        assert ("this copy" in out) == named
        assert ("Not counted: b. The base model" in told) != named
    code, out, told = call("verify", *files, "--recipient", "b", "--out", "r", "--alpha", "0.01")
    assert code == 0, told
    assert "so does the base model in its place" in out
    assert "; base model in its place: p = " in out


def test_earlier_tests_and_committed_keys_are_priced(work, call):
    recipients = ("--recipient", "a", "--recipient", "b")
    assert call("key", "new", "keys.json", *recipients, *env())[0] == 0
    coaters(work)
    out = ("--coater", "keyed.safetensors", "--key", "keys.json", "--out", "c.json", *env())
    assert call("commit", *out)[0] == 0
    ring = KeyRing.load(work / "keys.json", PASSPHRASE)
    mark = Coater.load(work / "keyed.safetensors").fingerprint
    files = ("--suspect", "scores.json", "--key", "keys.json", "--commitment", "c.json", *env())
    for number in (1, 2):
        suspect = drawn(5, seed=number, lean=ring.key("a").signs())
        replace(suspect, coater=mark).save(work / "scores.json")
        code, out, _ = call("trace", *files, "--json")
        assert code == 0
        found = json.loads(out)
        assert found["commitment"]["status"] == "committed before"
        assert found["commitment"]["number"] == number
        best = found["recipients"][0]
        assert best["named"]
        price = 2 * number * (number + 1)
        assert best["p_corrected"] == pytest.approx(price * best["p_value"])


def test_nobody_is_named_with_keys_that_were_not_committed(work, call):
    for name in ("keys.json", "others.json"):
        assert call("key", "new", name, "--recipient", "a", "--recipient", "b", *env())[0] == 0
    coaters(work)
    made = ("--coater", "keyed.safetensors", "--key", "others.json", "--out", "c.json", *env())
    assert call("commit", *made)[0] == 0
    ring = KeyRing.load(work / "keys.json", PASSPHRASE)
    mark = Coater.load(work / "keyed.safetensors").fingerprint
    replace(drawn(5, lean=ring.key("a").signs()), coater=mark).save(work / "scores.json")
    files = ("--suspect", "scores.json", "--key", "keys.json", "--commitment", "c.json", *env())
    code, out, told = call("trace", *files)
    assert code == 0
    assert "Nobody is named, because the commitment does not fit." in out
    assert "<- this copy" not in out
    assert "2 of 2 keys are not among its 2 keys" in told


def test_bad_input_of_trace_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    for arguments, words in (
        (("trace", "--suspect", "plain.json", "--key", "keys.json", *env()), "have no features"),
        (
            ("trace", "--suspect", "scores.json", "--key", "keys.json", "--alpha", "2", *env()),
            "alpha is 2",
        ),
        (
            ("trace", "--suspect", "scores.json", "--key", "keys.json", "--coater", "x", *env()),
            "--coater was given, but scores.json is not a measurement of a model's file",
        ),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()
