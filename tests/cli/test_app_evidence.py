"""Help and documented examples of the commands around evidence."""

from __future__ import annotations

import re
import typing

import pytest
from support.key_commands import env

from siren_ext.cli.app import app

pytestmark = pytest.mark.usefixtures("cheap", "secret_in_environment")


COMMANDS = (
    "key new",
    "key add",
    "key show",
    "key salt",
    "key derive",
    "key signing",
    "commit",
    "commit stamp",
    "trace",
    "report check",
)
WITHOUT_SECRETS = ("report check", "commit stamp", "key derive")


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
    code, _, told = call(*example[1].split(), *([] if name in WITHOUT_SECRETS else env("NOT_SET")))
    assert code == 2
    assert told.startswith("Error: ")
    assert "Usage" not in told


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
            default = getattr(found, "default", "")
            found = found.commands[default if default and words[0][0] == "-" else words.pop(0)]
        options = {option: one for one in found.params for option in one.opts}
        used = [word for word in words if word.startswith("-")]
        assert set(used) <= set(options), line
        needed = {one.opts[0] for one in found.params if one.required and one.opts[0][0] == "-"}
        assert needed <= set(used), line
