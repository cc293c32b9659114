"""Progress on stderr: bars in a terminal, plain lines when stderr is not one.

Also the clean stop: the first Ctrl-C makes a running step save and stop, the second quits at once.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from siren_ext.progress import Progress
from siren_ext.text import duration

if TYPE_CHECKING:
    from rich.console import Console


def rate(units: float, seconds: float) -> str:
    """Format a speed for reading.

    Parameters
    ----------
    units : float
        work done.
    seconds : float
        time it took.

    Returns
    -------
    str
        ``12.3/s``, or ``2.4 s each`` below one unit a second; "" if nothing is known yet.
    """
    if units <= 0 or seconds <= 0:
        return ""
    pace = units / seconds
    return f"{pace:.1f}/s" if pace >= 1 else f"{1 / pace:.1f} s each"


class StopRequest:
    """A context in which Ctrl-C makes the running step finish its unit of work and stop.

    Pass :meth:`asked` to a progress as ``cancelled``. A second Ctrl-C raises KeyboardInterrupt.
    Python delivers signals to the main thread only; in other threads this does nothing.

    Parameters
    ----------
    stream : TextIO | None
        where the first Ctrl-C is acknowledged; None for stderr.
    signals : Sequence[int]
        the signals that stop the step; Ctrl-C is SIGINT, and SIGTERM is what services get.
    again : bool
        whether a second signal raises. A launcher of several processes passes Ctrl-C on, so that
        each gets it twice.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        signals: Sequence[int] = (signal.SIGINT,),
        again: bool = True,
    ) -> None:
        self._stream, self._signals, self._again = stream, tuple(signals), again
        self._stop = False
        self._previous: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether the user wants to stop."""
        return self._stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            if self._again:
                raise KeyboardInterrupt
            return
        self._stop = True
        if not self._again and number != signal.SIGINT:
            return  # another process has ended, and says why
        stream = self._stream or sys.stderr
        more = " Press Ctrl-C again to quit at once." if self._again else ""
        stream.write(f"\nFinishing this step and saving.{more}\n")
        stream.flush()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = {one: signal.signal(one, self._on_signal) for one in self._signals}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous = {}


class QuietProgress(Progress):
    """Shows notices only.

    Parameters
    ----------
    cancelled : Callable[[], bool]
        whether the user wants to stop.
    stream : TextIO | None
        where they go; None for stderr.
    """

    def __init__(
        self, cancelled: Callable[[], bool] = lambda: False, *, stream: TextIO | None = None
    ) -> None:
        super().__init__(cancelled)
        self._stream = stream

    def notice(self, text: str) -> None:
        """Print the notice."""
        _print_line(text, self._stream)


class LineProgress(Progress):
    """Prints a line when a stage begins, every ``interval`` seconds, and when it ends.

    Parameters
    ----------
    cancelled : Callable[[], bool]
        whether the user wants to stop.
    stream : TextIO | None
        where the lines go; None for stderr.
    interval : float
        seconds between lines.
    clock : Callable[[], float]
        seconds since some start.
    """

    def __init__(
        self,
        cancelled: Callable[[], bool] = lambda: False,
        *,
        stream: TextIO | None = None,
        interval: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(cancelled)
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._label = ""
        self._total: int | None = None
        self._done = self._before = 0
        self._start = self._said = 0.0
        self._note = ""

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a stage and print its name."""
        self.close()
        self._label, self._total, self._note = label, total, ""
        self._done = self._before = done
        self._start = self._said = self._clock()
        resumed = f" (resuming after {done})" if done else ""
        self._say(f"{label}{'' if total is None else f': {total}'}{resumed}")

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count the work, and print it every ``interval`` seconds."""
        self._done += units
        self._note = note or self._note
        now = self._clock()
        if now - self._said >= self._interval:
            self._said = now
            self._say(self._status(now))
        super().advance(units, note)

    def notice(self, text: str) -> None:
        """Print the notice."""
        self._say(text)

    def close(self) -> None:
        """Print the end of the stage, once."""
        if self._label and self._done > self._before:
            self._say(self._status(self._clock()))
        self._label = ""

    def _status(self, now: float) -> str:
        fresh, elapsed = self._done - self._before, now - self._start
        count = str(self._done) if self._total is None else f"{self._done}/{self._total}"
        parts = [f"{self._label}: {count}", rate(fresh, elapsed)]
        left = 0 if self._total is None else self._total - self._done
        if left > 0 and fresh > 0:
            parts.append(f"{duration(left * elapsed / fresh)} left")
        elif self._done == self._total:
            parts.append(f"took {duration(elapsed)}")
        parts.append(self._note)
        return ", ".join(part for part in parts if part)

    def _say(self, text: str) -> None:
        _print_line(text, self._stream)


def _print_line(text: str, stream: TextIO | None) -> None:
    """Print a line; work is not stopped because it can't be shown."""
    stream = stream or sys.stderr
    with suppress(OSError):
        stream.write(text + "\n")
        stream.flush()


class BarProgress(Progress):
    """Draws a bar per stage with count, rate, time left and the latest note.

    Parameters
    ----------
    cancelled : Callable[[], bool]
        whether the user wants to stop.
    console : Console | None
        where the bars are drawn; None for stderr.
    """

    def __init__(
        self, cancelled: Callable[[], bool] = lambda: False, *, console: Console | None = None
    ) -> None:
        super().__init__(cancelled)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console or Console(stderr=True),
        )
        self._task: Any = None
        self._before = 0

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a new bar below the finished ones."""
        from rich.markup import escape

        self._finish()
        self._bars.start()
        self._before = done
        self._task = self._bars.add_task(
            escape(label), total=total, completed=done, count="", rate="", note=""
        )

    def advance(self, units: int = 1, note: str = "") -> None:
        """Move the bar."""
        from rich.markup import escape

        if self._task is not None:
            self._bars.update(self._task, advance=units)
            task = self._bars.tasks[-1]
            fresh = task.completed - self._before
            pace = (task.speed, 1.0) if task.speed else (fresh, task.elapsed or 0.0)
            count = f"{task.completed:.0f}"
            fields = {
                "count": count if task.total is None else f"{count}/{task.total:.0f}",
                "rate": rate(*pace),
            }
            if note:
                fields["note"] = escape(note)
            self._bars.update(self._task, **fields)  # type: ignore[arg-type]
        super().advance(units, note)

    def notice(self, text: str) -> None:
        """Print the notice above the bars."""
        self._bars.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop redrawing; the bars stay on screen."""
        self._finish()
        self._bars.stop()

    def _finish(self) -> None:
        if self._task is None:
            return
        task = self._bars.tasks[-1]
        if task.total is None:
            self._bars.update(self._task, total=task.completed)
        self._bars.stop_task(self._task)
        self._task = None


def terminal_progress(
    cancelled: Callable[[], bool] = lambda: False, *, quiet: bool = False
) -> Progress:
    """Choose a display for this process.

    Parameters
    ----------
    cancelled : Callable[[], bool]
        whether the user wants to stop.
    quiet : bool
        show notices only.

    Returns
    -------
    Progress
        bars if stderr is a terminal, else plain lines.
    """
    if quiet:
        return QuietProgress(cancelled)
    if sys.stderr.isatty():
        return BarProgress(cancelled)
    return LineProgress(cancelled)
