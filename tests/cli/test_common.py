"""What the commands share: exit codes, skipped files, settings from files and assignments."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from siren_ext.cli.common import (
    command,
    gather,
    parse_assignment,
    report_skipped,
    settings,
    watched,
)
from siren_ext.errors import Cancelled, ConfigError, SirenError
from siren_ext.verdict.config import VerifyConfig


@pytest.fixture
def failing() -> Callable[[BaseException], typer.Typer]:
    """An app whose command ``work`` raises the given error."""

    def make(error: BaseException) -> typer.Typer:
        trial = typer.Typer(pretty_exceptions_enable=False)

        @command(trial, "work", example="x work a")
        def work(path: Path) -> None:
            """Do it."""
            raise error

        @trial.callback()
        def _options() -> None:
            """Keep 'work' a named command."""

        return trial

    return make


def test_siren_error_is_one_message_and_exit_2(call, failing) -> None:
    trial = failing(SirenError("Found a cat, expected a dog; give a dog."))
    code, out, err = call("work", "x", of=trial)
    assert code == 2
    assert out == ""
    assert err == "Error: Found a cat, expected a dog; give a dog.\n"


@pytest.mark.parametrize("error", [SirenError("no"), Cancelled("stop")])
def test_debug_lets_the_error_through(failing, error: SirenError) -> None:
    with pytest.raises(type(error), match=str(error)):
        failing(error)(["work", "x", "--debug"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Cancelled("stop")])
def test_interrupt_says_how_to_go_on(call, failing, error: BaseException) -> None:
    code, _, err = call("work", "x", of=failing(error))
    assert code == 130
    assert "run the same command again to resume" in err


def test_other_errors_are_not_hidden(failing) -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())(["work", "x"])


def test_skipped_files_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    report_skipped((), "file")
    with pytest.raises(typer.Exit) as stop:
        report_skipped((("a.png", "is cut off"), ("b.gif", "is empty")), "file")
    assert stop.value.exit_code == 3
    err = capsys.readouterr().err
    assert "Skipped 2 files:" in err
    assert "a.png: is cut off" in err
    assert "b.gif: is empty" in err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps=400", ("steps", 400)),
        ("learning-rate = 1e-4", ("learning_rate", 1e-4)),
        ("flip=false", ("flip", False)),
        ("prompts=['a', 'b']", ("prompts", ["a", "b"])),
        ("prompt=an image of a = sign", ("prompt", "an image of a = sign")),
        ("negative=", ("negative", "")),
    ],
)
def test_assignment(text: str, expected: tuple[str, object]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["steps", "=3", ""])
def test_malformed_assignment(text: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        parse_assignment(text)


def test_assignment_can_not_smuggle_a_second_setting() -> None:
    assert parse_assignment("steps=1\nseed=2") == ("steps", "1\nseed=2")


def test_options_beat_assignments_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("alpha = 0.1\n")
    assert settings(VerifyConfig, path).alpha == 0.1
    assert settings(VerifyConfig, path, ["alpha=0.2"]).alpha == 0.2
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=0.3).alpha == 0.3
    assert settings(VerifyConfig, path, ["alpha=0.2"], alpha=None).alpha == 0.2


def test_assignments_reach_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 1\n[coater]\nbits = 2\nfeatures = 3\n")
    assert gather(path, ["coater.bits=4", "surrogate.rank=8", "seed=5"], steps=9) == {
        "steps": 9,
        "seed": 5,
        "coater": {"bits": 4, "features": 3},
        "surrogate": {"rank": 8},
    }
    with pytest.raises(ConfigError, match="not a group"):
        gather(path, ["steps.x=1"])


def test_bad_settings_name_file_or_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        settings(VerifyConfig, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="alpah"):
        settings(VerifyConfig, None, ["alpah=0.1"])


def test_watched_turns_interrupt_into_a_clean_stop() -> None:
    with watched(quiet=True) as progress:
        progress.stage("work", 2)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Cancelled):
            progress.advance()
