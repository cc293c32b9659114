"""The command ``key`` refuses what would lose or mix keys."""

from __future__ import annotations

import pytest
from support.key_commands import env, refused

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_bad_input_of_key_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    for arguments, words in (
        (("key", "new", "keys.json", *env()), "keys.json exists already and is not overwritten"),
        (("key", "signing", "keys.json", *env()), "exists already"),
        (("key", "new", "no/folder/keys.json", *env()), "can't be written"),
        (("key", "new", "new.json", *env("NOT_SET")), "variable 'NOT_SET' is not set"),
        (
            ("key", "new", "n.json", "--recipient", "a", "--recipient", "a", *env()),
            "already a key for 'a'",
        ),
        (("key", "add", "keys.json", "--recipient", "a", *env()), "already a key for 'a'"),
        (("key", "add", "keys.json", *env()), "nothing to add; name a recipient"),
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
