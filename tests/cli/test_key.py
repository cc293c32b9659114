"""The command ``key`` refuses what would lose or mix keys."""

from __future__ import annotations

import pytest
from support.evidence_samples import PASSPHRASE
from support.key_commands import env, refused
from support.stub_beacon import StubBeacon, without_signatures
from support.time_authority import TimeAuthority

from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.files import locked
from siren_ext.keys.derived import KeySalt

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_bad_input_of_key_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    for arguments, words in (
        (("key", "new", "keys.json", *env()), "keys.json already exists and was not overwritten"),
        (("key", "signing", "keys.json", *env()), "already exists"),
        (("key", "new", "no/folder/keys.json", *env()), "can't be written"),
        (("key", "new", "new.json", *env("NOT_SET")), "variable 'NOT_SET' is not set"),
        (
            ("key", "new", "n.json", "--recipient", "a", "--recipient", "a", *env()),
            "already a key for 'a'",
        ),
        (("key", "add", "keys.json", "--recipient", "a", *env()), "already a key for 'a'"),
        (("key", "add", "keys.json", *env()), "No recipient was given; name one"),
        (("key", "show", "keys.json", *env("OTHER")), "passphrase is wrong"),
        (
            ("key", "show", "scores.json", *env()),
            "has the format 'siren_ext.scores'; expected 'siren_ext.keys'",
        ),
        (("key", "show", "none.json", *env()), "can't be read (No such file"),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()


def test_keys_are_added_by_one_command_at_a_time(case, call):
    """Or the keys that the first one printed would be replaced by those of the second."""
    add = ("key", "add", "keys.json", "--recipient", "late", *env())
    with locked(case / "keys.json"):
        refused(call, add, "keys.json is being written by another run")
    assert call(*add)[0] == 0


def test_keys_are_derived_after_a_stamp(work, call, monkeypatch):
    without_signatures(monkeypatch)
    authority = TimeAuthority(work / "authority")
    shape = CoaterConfig(channels=4, generator_blocks=1, extractor_blocks=1, working_size=16)
    Coater(shape).save(work / "coater.safetensors")
    code, out, _ = call("key", "salt", "salt.json", "--recipient", "a", "--recipient", "b", *env())
    assert code == 0
    assert out.startswith("salt of 2 x 48 bits, hash ")
    made = ("commit", "--coater", "coater.safetensors", "--salt", "salt.json", "--out", "c.json")
    code, out, told = call(*made, *env())
    assert (code, "2 keys and 0 files" in out) == (0, True)
    assert "every p is multiplied by 2" in told
    authority.stamped(work / "c.json")
    given = ["key", "derive", "keys.json", "--salt", "salt.json", "--commitment", "c.json"]
    given += ["--timestamp", "c.json.tsr", "--root", str(authority.root)]
    code, out, _ = call(*given, *env())
    assert (code, out[:6]) == (0, "round ")
    assert not (work / "keys.json").exists()
    with StubBeacon() as server:
        code, out, told = call(*given, "--url", server.url, *env())
    assert code == 0
    assert out.startswith("a: 48 bits, fingerprint ")
    assert "could be made up" in told
    kept = ("--round", "c.json.round.json")
    refused(call, (*given, *kept, *env()), "keys.json already exists")
    (work / "keys.json").rename(work / "first.json")
    code, again, _ = call(*given, *kept, *env())
    assert (code, again) == (0, out)
    given[2] = "third.json"
    refused(call, (*given, *kept, "--url", "https://x.example", *env()), "not both")
    (work / "c.json.round.json").write_text("{}")
    refused(call, (*given, *kept, *env()), "c.json.round.json")
    secret = KeySalt.load(work / "salt.json", PASSPHRASE)._salt.hex()
    for path in work.glob("*.json"):
        assert secret not in path.read_text(), path
