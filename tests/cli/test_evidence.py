"""The commands around evidence, end to end on simulated features, and with bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import typing

import numpy as np
import pytest
from support.evidence_samples import PASSPHRASE, SIGNS
from support.score_sets import drawn

from siren_ext.cli.app import app
from siren_ext.coater.coater import Coater
from siren_ext.coater.config import CoaterConfig
from siren_ext.keys.coating_key import KeyRing

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")
SETTINGS = ("--set", "decoys=2000")


@pytest.fixture
def secret_in_environment(monkeypatch):
    monkeypatch.setenv("SECRET", PASSPHRASE)
    monkeypatch.setenv("OTHER", "another passphrase")


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def env(name="SECRET"):
    return ("--passphrase-env", name)


def ways(key):
    signs = key.signs()
    bits = "".join("1" if sign > 0 else "0" for sign in signs)
    return [bits, np.packbits(signs > 0).tobytes().hex(), key._salt.hex()]


COMMANDS = ("key new", "key add", "key show", "key signing", "commit", "trace", "report check")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_its_parser_takes(name, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    code, out, _ = call(*name.split(), "--help")
    text = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert code == 0
    assert "--debug" in text
    example = re.search(rf"Example: siren-ext ({name} [-\w].*?)\s*$", text, re.MULTILINE)
    assert example
    # nothing of it is there, so the command itself complains, not the parser
    code, _, told = call(*example[1].split(), *([] if name == "report check" else env("NOT_SET")))
    assert code == 2
    assert told.startswith("Error: ")
    assert "Usage" not in told


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
    arguments += ["--commitment", "c.json", "--coater", "coater.safetensors", *env(), *SETTINGS]
    arguments += ["--sign", "signing.json", "--sign-passphrase-env", "OTHER"]
    code, out, told = call(*arguments)
    assert code == 0
    assert out.startswith("coating found: The images of the suspicious model carry the secret")
    assert re.search(r"keyed test: coating found, p = .*, n = 40, 4\d of 48 bits right", out)
    assert told.startswith("Committed before: the coater, the coater file and the key are those of")
    assert digest in told
    assert f"Signed by {public}" in told
    code, out, _ = call("report", "check", "report", "--signer", public)
    assert code == 0
    assert out.count(": matches. ") == 4
    with_key = ("--key", "keys.json", "--suspect", "scores.json", *env())
    code, out, _ = call("report", "check", "report/report.html", *with_key)
    assert (code, out.count(": matches. ")) == (0, 5)
    page = work / "report" / "report.html"
    page.write_text(page.read_text().replace("coating found", "no evidence"))
    code, out, told = call("report", "check", "report")
    assert code == 2
    assert "files: differs. report.html: other bytes than were sealed." in out
    assert "is not consistent (files); do not rely on it" in told
    for path in work.rglob("*"):
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        if path.name != "scores.json":
            assert not [way for way in ways(key) if way in text], path
        assert PASSPHRASE not in text


def test_without_a_commitment_it_is_said(work, call):
    ring = KeyRing.draw()
    ring.save(work / "keys.json", PASSPHRASE)
    drawn(5, lean=ring.key().signs()).save(work / "scores.json")
    arguments = ["--suspect", "scores.json", "--key", "keys.json", "--out", "r", *env(), *SETTINGS]
    code, _, told = call("verify", *arguments)
    assert code == 0
    assert told.count("No commitment: the key could have been chosen afterwards.") == 1


def test_verify_shows_every_finding(work, call):
    for name, scores in (("s", drawn(5)), ("r", drawn(10, 110, seed=1)), ("i", drawn(10, seed=2))):
        scores.save(work / f"{name}.json")
    files = ["--suspect", "s.json", "--reference", "r.json", "--innocent", "i.json", "--out", "x"]
    code, out, told = call("verify", *files)
    assert code == 0
    assert "\ncomparison with a reference model: coating found, p = " in out
    assert "\nrank among innocent models: inconclusive, p = 0.5, 0 of 1 innocent models" in out
    assert "Note: 1 innocent model can't bring the risk below 50 %" in told
    assert call("report", "check", "x")[0] == 0


def test_recipients_are_traced(work, call):
    recipients = ("--recipient", "gallery", "--recipient", "printer")
    assert call("key", "new", "keys.json", *recipients, *env())[0] == 0
    assert call("key", "add", "keys.json", "--recipient", "shop", *env())[0] == 0
    code, out, _ = call("key", "show", "keys.json", *env())
    assert [line.split(":")[0] for line in out.splitlines()] == ["gallery", "printer", "shop"]
    ring = KeyRing.load(work / "keys.json", PASSPHRASE)
    drawn(5, lean=ring.key("printer").signs()).save(work / "scores.json")
    files = ("--suspect", "scores.json", "--key", "keys.json", "--decoys", "2000", *env())
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
    assert found[0]["p_corrected"] == pytest.approx(3 * found[0]["p_value"])
    assert not [way for _, key in ring for way in ways(key) if way in out + told]
    drawn(5, style=2.0).save(work / "scores.json")
    code, out, _ = call("trace", *files)
    assert "No recipient stands out at a risk of 1 in 1,000." in out
    assert "this copy" not in out
    verify = ("verify", "--out", "r", *SETTINGS, *files[:4], *env())
    assert "several keys; name one of its recipients: gallery, printer, shop" in call(*verify)[2]
    assert call(*verify, "--recipient", "shop")[0] == 0


def test_bad_input_is_one_message(work, call):
    KeyRing.draw(["a"]).save(work / "keys.json", PASSPHRASE)
    before = (work / "keys.json").read_bytes()
    drawn(5).save(work / "scores.json")
    dataclasses.replace(drawn(5), features=None).save(work / "plain.json")
    (work / "empty").mkdir()
    verify = ("verify", "--suspect", "scores.json", "--out", "r")
    for arguments, words in (
        (("key", "new", "keys.json", *env()), "keys.json exists already and is not overwritten"),
        (("key", "signing", "keys.json", *env()), "exists already"),
        (("key", "new", "no/folder/keys.json", *env()), "can't be written"),
        (("key", "new", "new.json", *env("NOT_SET")), "variable 'NOT_SET' is not set"),
        (("key", "new", "n.json", "--recipient", "a", "--recipient", "a", *env()), "there already"),
        (("key", "add", "keys.json", "--recipient", "a", *env()), "'a' is there already"),
        (("key", "add", "keys.json", *env()), "nothing to add; name a recipient"),
        (("key", "show", "keys.json", *env("OTHER")), "passphrase is wrong"),
        (("key", "show", "scores.json", *env()), "should be a file of the format"),
        (("key", "show", "none.json", *env()), "can't be read: No such file"),
        ((*verify,), "nothing to compare"),
        ((*verify, "--coated", "empty"), "compared with a --commitment"),
        ((*verify, "--key", "keys.json", *env("OTHER")), "passphrase is wrong"),
        ((*verify, "--key", "keys.json"), "no terminal to ask at"),
        ((*verify, "--sign", "keys.json", *env()), "format 'siren_ext.signing_key'"),
        ((*verify, "--key", "keys.json", "--commitment", "keys.json", *env()), "commitment"),
        ((*verify, "--innocent", "none.json"), "can't be read"),
        (
            ("verify", "--suspect", "plain.json", "--key", "keys.json", "--out", "r", *env()),
            "hold no features",
        ),
        (("trace", "--suspect", "plain.json", "--key", "keys.json", *env()), "hold no features"),
        (
            ("trace", "--suspect", "scores.json", "--key", "keys.json", "--alpha", "2", *env()),
            "alpha is 2",
        ),
        (("commit", "--coater", "none", "--out", "c.json"), "none"),
        (("commit", "--coater", "none", "--out", "keys.json"), "not overwritten"),
        (("report", "check", "empty"), "holds no report.json"),
        (("report", "check", "empty", "--key", "keys.json"), "needs both --key and --suspect"),
        (("report", "check", "empty", "--signer", "me"), "no public key"),
    ):
        code, out, told = call(*arguments)
        assert (code, out) == (2, ""), arguments
        assert told.startswith("Error: ")
        assert words in told, (arguments, told)
        assert "Traceback" not in told
        assert PASSPHRASE not in told
    assert (work / "keys.json").read_bytes() == before
    assert not (work / "r").exists()


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
        app([*arguments, *env(), *SETTINGS])
    told = str(error.getrepr(style="long", showlocals=False))
    assert not [way for way in ways(ring.key()) if way in told]
    assert str(list(SIGNS)) not in told
    assert PASSPHRASE not in told
    assert os.environ["SECRET"] == PASSPHRASE


def test_every_command_of_the_page_for_artists_exists():
    import shlex
    from pathlib import Path

    import typer.main

    page = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"
    if not page.exists():
        pytest.skip("the pages are only in a source tree")
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^siren-ext .*$", text, re.MULTILINE)
    lines += re.findall(r"`(siren-ext [^`]*--[^`]*)`", text)
    assert len(lines) >= 15
    for line in lines:
        found, words = typing.cast("typing.Any", typer.main.get_command(app)), shlex.split(line)[1:]
        while hasattr(found, "commands"):
            found = found.commands[words.pop(0)]
        options = {option: one for one in found.params for option in one.opts}
        used = [word for word in words if word.startswith("-")]
        assert set(used) <= set(options), line
        needed = {one.opts[0] for one in found.params if one.required and one.opts[0][0] == "-"}
        assert needed <= set(used), line
