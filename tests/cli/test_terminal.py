"""Progress and interrupts in a terminal and in a log."""

from __future__ import annotations

import io
import os
import signal

import pytest

from siren_ext.cli.terminal import (
    BarProgress,
    LineProgress,
    QuietProgress,
    StopRequest,
    rate,
    terminal_progress,
)
from siren_ext.errors import Cancelled


class Clock:
    """A clock that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("units", "seconds", "words"),
    [(30, 10, "3.0/s"), (5, 12, "2.4 s each"), (0, 10, ""), (3, 0, "")],
)
def test_rate(units: float, seconds: float, words: str) -> None:
    assert rate(units, seconds) == words


def test_lines_report_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream=stream, interval=10, clock=clock)
    progress.stage("coating", total=100)
    for _ in range(20):
        clock.now += 1
        progress.advance(1, "cat.png")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "coating: 100",
        "coating: 10/100, 1.0/s, 1 min 30 s left, cat.png",
        "coating: 20/100, 1.0/s, 1 min 20 s left, cat.png",
    ]


def test_lines_of_a_resumed_stage_count_only_fresh_work() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream=stream, interval=10, clock=clock)
    progress.stage("training", total=100, done=90)
    clock.now = 10
    progress.advance(5)
    clock.now = 20
    progress.advance(5)
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "training: 100 (resuming after 90)",
        "training: 95/100, 2.0 s each, 10 s left",
        "training: 100/100, 2.0 s each, took 20 s",
        "training: 100/100, 2.0 s each, took 20 s",
    ]


def test_lines_of_unknown_length_and_stage_change() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream=stream, interval=10, clock=clock)
    progress.stage("reading")
    clock.now = 4
    progress.advance(2)
    progress.stage("writing", 1)
    assert stream.getvalue().splitlines() == ["reading", "reading: 2, 2.0 s each", "writing: 1"]


def test_lines_can_be_cancelled() -> None:
    progress = LineProgress(lambda: True, stream=io.StringIO())
    progress.stage("work", 2)
    with pytest.raises(Cancelled):
        progress.advance()


def test_bars_show_label_count_rate_and_note() -> None:
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    progress = BarProgress(console=console)
    progress.stage("coating [1]", total=4)
    for _ in range(4):
        progress.advance(1, "cat [x].png")
    progress.stage("searching")
    progress.advance(3)
    progress.close()
    drawn = stream.getvalue()
    for expected in ("coating [1]", "4/4", "/s", "cat [x].png", "searching"):
        assert expected in drawn


def test_bars_can_be_cancelled_and_leave_the_terminal() -> None:
    from rich.console import Console

    stream = io.StringIO()
    progress = BarProgress(lambda: True, console=Console(file=stream, force_terminal=True))
    progress.stage("work", 2)
    with pytest.raises(Cancelled):
        progress.advance()
    assert "\x1b[?25l" in stream.getvalue(), "the cursor was hidden"
    progress.close()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")


def test_choice_of_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert type(terminal_progress()) is LineProgress
    assert type(terminal_progress(quiet=True)) is QuietProgress


def test_notices_are_shown_whatever_the_display() -> None:
    from rich.console import Console

    text = "The working size changes from 64 to [256] pixels."
    stream = io.StringIO()
    QuietProgress(stream=stream).notice(text)
    assert stream.getvalue() == text + "\n"
    stream = io.StringIO()
    lines = LineProgress(stream=stream)
    lines.stage("training", 2)
    lines.notice(text)
    assert stream.getvalue().splitlines() == ["training: 2", text]
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    bars = BarProgress(console=console)
    bars.stage("training", 2)
    bars.notice(text)
    bars.close()
    assert text in stream.getvalue()


def test_a_quiet_step_shows_nothing_else_and_can_be_cancelled() -> None:
    stream = io.StringIO()
    progress = QuietProgress(lambda: True, stream=stream)
    progress.stage("training", 2)
    with pytest.raises(Cancelled):
        progress.advance(1, "note")
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_first_interrupt_asks_and_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    stream = io.StringIO()
    with StopRequest(stream) as stop:
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked()
        assert "Ctrl-C again" in stream.getvalue()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
