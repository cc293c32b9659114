"""The command ``report check``, after all steps with a key."""

from __future__ import annotations

import json
import re

import pytest
from support.evidence_samples import PASSPHRASE
from support.key_commands import env, refused, ways
from support.keyed_samples import coaters
from support.score_sets import drawn
from support.stub_beacon import ROUND_1000
from support.time_authority import TimeAuthority

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import KeyRing

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_the_whole_way_with_a_key(work, call):
    code, out, told = call("key", "new", "keys.json", *env())
    assert code == 0
    assert re.fullmatch(r"\(unnamed\): 48 bits, fingerprint [0-9a-f]{64}\n", out)
    assert "without both you can't prove anything" in told
    key = KeyRing.load(work / "keys.json", PASSPHRASE).key()
    shape = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)
    Coater(shape).save(work / "coater.safetensors")
    mark = Coater.load(work / "coater.safetensors").fingerprint
    code, out, told = call(
        "commit", "--coater", "coater.safetensors", "--key", "keys.json", "--out", "c.json", *env()
    )
    assert code == 0
    assert "1 key and 0 files" in out
    digest = re.search(r"SHA-256 of c.json: ([0-9a-f]{64})", out)[1]
    drawn(5, lean=key.signs(), coater=mark).save(work / "scores.json")
    code, out, _ = call("key", "signing", "signing.json", *env("OTHER"))
    public = re.fullmatch(r"public key: ([0-9a-f]{64})\n", out)[1]
    arguments = ["verify", "--suspect", "scores.json", "--key", "keys.json", "--out", "report"]
    arguments += ["--commitment", "c.json", "--coater", "coater.safetensors", *env()]
    arguments += ["--sign", "signing.json", "--sign-passphrase-env", "OTHER"]
    code, out, told = call(*arguments)
    assert code == 0
    assert out.startswith("coating found: The images of the suspicious model carry the secret")
    assert "fit the key better than the accepted risk of 1 in 1 million allows: 1 of " in out
    assert " random keys would fit these pictures as well" in out
    assert ", and times 2, for the number of keys and tests, this is 1 in " in out
    assert re.search(r"keyed test: coating found, p = .*, n = 40, 4\d of 48 bits right", out)
    assert told.startswith("Committed before: the coater, the coater file and the key match a")
    assert digest in told
    assert f"Signed by {public}" in told
    code, out, told = call("report", "check", "report", "--signer", public)
    assert code == 3
    assert out.count(": matches. ") == 6
    assert told == "Not checked: keyed statistic, commitment, number of tests.\n"
    with_key = ("--key", "keys.json", "--suspect", "scores.json", *env())
    twins = call("report", "check", "report", "--twins", "private")[1]
    assert "coins: not checked. this report is not on twins" in twins
    code, out, told = call("report", "check", "report/report.html", *with_key)
    assert (code, out.count(": matches. ")) == (3, 6)
    assert told == "Not checked: signature, commitment, number of tests.\n"
    assert f"signature: not checked. Signed by a key you have not named, {public}" in out
    authority = TimeAuthority(work / "authority")
    authority.stamped(work / "c.json")
    whole = ("--signer", public, "--commitment", "c.json", "--timestamp", "c.json.tsr", "--root")
    whole += (str(authority.root), "--coater", "coater.safetensors", "--ledger", "keys.json.ledger")
    code, out, told = call("report", "check", "report", *with_key, *whole)
    assert (code, told, out.count(": matches. ")) == (0, "", 9)
    other = ("commit", "--coater", "coater.safetensors", "--out", "d.json")
    assert call(*other)[0] == 0
    code, out, _ = call("report", "check", "report", *with_key, "--commitment", "d.json")
    assert code == 2
    assert "commitment: differs. The commitment does not fit: 1 of 1 keys" in out
    page = work / "report" / "report.html"
    page.write_text(page.read_text().replace("coating found", "no evidence"))
    code, out, told = call("report", "check", "report")
    assert code == 2
    assert "files: differs. report.html: changed since the report was sealed." in out
    assert "is not consistent (files, page); do not rely on it" in told
    for path in work.rglob("*"):
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        if path.name != "scores.json":
            assert not [way for way in ways(key) if way in text], path
        assert PASSPHRASE not in text


def test_half_of_the_bits_are_opened(work, call):
    assert call("key", "new", "keys.json", *env())[0] == 0
    key = KeyRing.load(work / "keys.json", PASSPHRASE).key()
    coaters(work)
    mark = Coater.load(work / "keyed.safetensors").fingerprint
    commit = ("--coater", "keyed.safetensors", "--key", "keys.json", "--out", "c.json", *env())
    assert call("commit", *commit)[0] == 0
    drawn(5, lean=key.signs(), coater=mark).save(work / "s.json")
    files = ("--suspect", "s.json", "--key", "keys.json", *env())
    assert call("verify", *files, "--commitment", "c.json", "--out", "report")[0] == 0
    opens = ("report", "open", "report", *files)
    seal = (*opens, "--commitment", "c.json", "--out", "sealed.json")
    code, out, told = call(*seal)
    assert code == 0
    assert re.fullmatch(r"SHA-256 of sealed.json: [0-9a-f]{64}\n", out)
    assert "name a future round of drand's quicknet" in told
    (work / "round.json").write_text(json.dumps(ROUND_1000))
    sealed = ("--sealed", "sealed.json", "--out", "opening.json")
    for options, words in (
        ((*sealed,), "either --round or --url"),
        ((*sealed, "--round", "round.json", "--bits", "9"), "neither --bits nor --commitment"),
        ((*sealed, "--url", "https://beacon.example"), "decides which round to get"),
        ((*sealed, "--round", "round.json", "--named-round", "7"), "expected round 7"),
        (("--out", "opening.json"), "Give --commitment to write a sealed file"),
        (("--commitment", "c.json", "--out", "c.json"), "exists"),
    ):
        refused(call, (*opens, *options), words)
    code, out, _ = call(*opens, *sealed, "--round", "round.json", "--named-round", "1000")
    assert (code, out) == (0, "24 of 48 bits opened by round 1,000: opening.json\n")
    check = ("report", "check", "report", "--commitment", "c.json", "--opening", "opening.json")
    code, out, _ = call(*check, "--named-round", "1000")
    assert code == 3
    assert "opened bits: matches. 24 bits are those that were committed" in out
    assert "opened test: not checked. The opened bits alone say 'coating found', if F is" in out
    code, out, _ = call(*check, "--named-round", "1000", "--suspect", "s.json")
    assert "opened test: matches. The opened bits alone say 'coating found', and F follows" in out
    refused(call, ("report", "check", "report", "--named-round", "9"), "need --opening")


def test_bad_input_of_report_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    (case / "empty").mkdir(exist_ok=True)
    for arguments, words in (
        (("report", "check", "empty"), "There is no report.json in empty."),
        (("report", "check", "nowhere"), "There is no file or folder nowhere."),
        (("report", "check", "empty", "--key", "keys.json"), "needs both --key and --suspect"),
        (("report", "check", "empty", "--signer", "me"), "is not a public key"),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()
