"""Commands among several processes: who prints, what is refused, what stops them."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest
import typer

from siren_ext.cli import common, launched
from siren_ext.cli.terminal import StopRequest
from siren_ext.errors import ConfigError

PLACE = {
    "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}  # fmt: skip


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This is process 1 of 2; its streams are put back afterwards."""
    for name, text in PLACE.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    return monkeypatch


def test_only_the_main_process_prints(
    second: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched.hush()
    common.say("a result")
    common.explain("a remark")
    second.setenv("RANK", "0")
    second.setattr(sys, "stdout", sys.__stdout__)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("first", [True, False])
def test_the_first_process_that_ends_says_why(second: pytest.MonkeyPatch, first: bool) -> None:
    stream = io.StringIO()
    second.setattr(launched, "is_first_to_end", lambda: first)
    second.setattr(sys, "__stderr__", stream)
    launched.hush()
    with pytest.raises(ConfigError), launched.together("coat", "cpu", several=False):
        pass
    print("told", file=sys.stderr)
    assert stream.getvalue() == ("told\n" if first else "")


def test_a_command_for_one_process_is_refused(second: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    def whole(name: str) -> None:
        """Do something."""
        raise AssertionError

    app.callback()(lambda: None)
    common.command(app, "whole", example="whole x")(whole)
    second.setattr(launched, "is_first_to_end", lambda: True)
    second.setattr(sys, "__stderr__", stream := io.StringIO())
    with pytest.raises(SystemExit) as stop:
        app(["whole", "x"])
    assert stop.value.code == 2
    assert "'whole' was started in several processes by a launcher; expected one" in (
        stream.getvalue()
    )


def test_skipped_files_are_no_crash_for_a_launcher(second: pytest.MonkeyPatch) -> None:
    common.report_skipped([("a.png", "it is broken")], "file")
    second.delenv("RANK")
    with pytest.raises(typer.Exit) as stop:
        common.report_skipped([("a.png", "it is broken")], "file")
    assert stop.value.exit_code == 3


def test_what_cannot_be_shared_is_refused(second: pytest.MonkeyPatch) -> None:
    launched.refuse_launched("URLs", given=False)
    with pytest.raises(ConfigError, match="can't share URLs"):
        launched.refuse_launched("URLs", given=True)
    second.delenv("RANK")
    launched.refuse_launched("URLs", given=True)


def test_one_process_instead_of_several_is_explained() -> None:
    alone = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_PORT": "29500"}
    assert "give --multi_gpu" in launched.surprise(alone)
    assert launched.surprise(alone | {"WORLD_SIZE": "2"}) == ""
    assert launched.surprise({"ACCELERATE_MIXED_PRECISION": "no"}) == ""
    assert launched.surprise({"MASTER_PORT": "29500"}) == ""


def test_a_launcher_stops_a_process_by_any_number_of_signals(second: pytest.MonkeyPatch) -> None:
    with launched.stop_request(quiet=True) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()
    second.delenv("RANK")
    with launched.stop_request(quiet=True):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_of_the_launcher_is_not_acknowledged() -> None:
    stream = io.StringIO()
    with StopRequest(stream, signals=(signal.SIGTERM, signal.SIGINT), again=False) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked()
    assert stream.getvalue() == ""
    with StopRequest(stream, again=False):
        os.kill(os.getpid(), signal.SIGINT)
    assert stream.getvalue() == "\nFinishing this step and saving.\n"
