"""Passphrases: asked for without echo, no option, and in no traceback."""

from __future__ import annotations

import os
import sys
import typing

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE, SIGNS
from support.key_commands import env, ways
from support.score_sets import drawn

from siren_ext.cli.app import app
from siren_ext.keys.coating_key import KeyRing

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


def test_a_passphrase_is_asked_for_without_echo(work, call, monkeypatch):
    asked = []

    def hidden(text="", **options):
        asked.append((text, options["hide_input"], options["confirmation_prompt"]))
        return PASSPHRASE

    monkeypatch.setattr("siren_ext.cli.passphrase.typer.prompt", hidden)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert call("key", "new", "keys.json")[0] == 0
    assert call("key", "show", "keys.json")[0] == 0
    assert asked == [
        ("New passphrase of keys.json", True, True),
        ("Passphrase of keys.json", True, False),
    ]
    # a file of another kind is told before anybody types
    drawn(5).save(work / "scores.json")
    assert call("key", "show", "scores.json")[0] == 2
    assert len(asked) == 2


def test_no_option_takes_a_secret_itself():
    import typer.main

    def options(command):
        for one in getattr(command, "commands", {}).values():
            yield from options(one)
        yield from (option for one in command.params for option in one.opts)

    names = {name for name in options(typing.cast("typing.Any", typer.main.get_command(app)))}
    assert {name for name in names if "passphrase" in name or "secret" in name} == {
        "--passphrase-env",
        "--sign-passphrase-env",
    }


def test_debug_tracebacks_hold_no_secret(work, call):
    ring = KeyRing.draw()
    ring.save(work / "keys.json", PASSPHRASE)
    drawn(5, features=np.ones((40, 8))).save(work / "scores.json")
    arguments = [
        "verify",
        "--suspect",
        "scores.json",
        "--key",
        "keys.json",
        "--out",
        "r",
        "--debug",
    ]
    from siren_ext.errors import ScoreError

    with pytest.raises(ScoreError) as error:
        app([*arguments, *env()])
    told = str(error.getrepr(style="long", showlocals=False))
    assert not [way for way in ways(ring.key()) if way in told]
    assert str(list(SIGNS)) not in told
    assert PASSPHRASE not in told
    assert os.environ["SECRET"] == PASSPHRASE
