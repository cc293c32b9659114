"""The whole command line: its commands, their help, the version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

COMMANDS = (
    "demo",
    "train",
    "meta",
    "coat",
    "personalize",
    "uncoat",
    "generate",
    "score",
    "verify",
    "investigate",
    "commit",
    "trace",
    "plan",
    "adapter",
    "settings",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example(
    name: str, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = call(name, "--help")
    assert code == 0
    assert re.search(rf"Example: siren-ext {name} [-\w]", re.sub(r"\x1b\[[0-9;]*m", "", out))
    assert "--debug" in out


def test_help_breaks_lines_for_the_terminal_and_not_for_the_source(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    _, out, _ = call("demo", "--help")
    assert "innocent model on the clean originals, generates images with both" in out
    assert "without a GPU or a download.  " in out, "paragraphs stay apart"


def test_help_shows_every_word(
    call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text in square brackets would be taken for markup and vanish."""
    import typer.main

    from siren_ext.cli.app import app

    def commands(one: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, one
        for name, inner in getattr(one, "commands", {}).items():
            yield from commands(inner, *words, name)

    def plain(text: str) -> str:
        return re.sub(r"\x1b\[[0-9;]*m|\s+|│", "", text)

    monkeypatch.setenv("COLUMNS", "2000")
    found = list(commands(typer.main.get_command(app)))
    assert len(found) > len(COMMANDS)
    for words, one in found:
        _, out, _ = call(*words, "--help")
        texts = [one.help, one.epilog, *(getattr(each, "help", None) for each in one.params)]
        missing = [text for text in texts if text and plain(text) not in plain(out)]
        assert not missing, words


def test_overview_lists_the_commands(call: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = call("--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)


def test_version(call: Callable[..., tuple[int, str, str]]) -> None:
    import siren_ext

    assert call("--version") == (0, siren_ext.__version__ + "\n", "")
