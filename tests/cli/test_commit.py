"""The command ``commit`` refuses what it can not bind."""

from __future__ import annotations

import pytest
from support.key_commands import refused

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_bad_input_of_commit_is_one_message(case, call):
    before = (case / "keys.json").read_bytes()
    for arguments, words in (
        (("commit", "--coater", "none", "--out", "c.json"), "none"),
        (("commit", "--coater", "none", "--out", "keys.json"), "not overwritten"),
    ):
        refused(call, arguments, words)
    assert (case / "keys.json").read_bytes() == before
    assert not (case / "r").exists()
