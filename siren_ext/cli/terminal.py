"""Progress in a terminal: bars with rate and time left, plain lines where nobody watches.

Also the clean stop: the first Ctrl-C asks a running step to save and stop, the second ends it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from siren_ext.progress import Progress
from siren_ext.text import duration

if TYPE_CHECKING:
    from rich.console import Console


def rate(units: float, seconds: float) -> str:
    """A pace that reads well at any speed: ``12.3/s`` or, below one a second, ``2.4 s each``."""
    if units <= 0 or seconds <= 0:
        return ""
    pace = units / seconds
    return f"{pace:.1f}/s" if pace >= 1 else f"{1 / pace:.1f} s each"


class StopRequest:
    """A context in which Ctrl-C asks the running step to finish its unit of work and stop.

    Pass :attr:`asked` to a progress as ``cancelled``. A second Ctrl-C raises KeyboardInterrupt.
    Outside the main thread, where Python gives no signals, Ctrl-C keeps its usual meaning.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._stop = False
        self._previous: Any = None
        self._installed = False

    def asked(self) -> bool:
        """Whether the user wants to stop."""
        return self._stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        stream = self._stream or sys.stderr
        stream.write("\nStopping after this step and saving; Ctrl-C again ends it at once.\n")
        stream.flush()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous or signal.default_int_handler)
            self._installed = False


class LineProgress(Progress):
    """One plain line when a stage begins, every ``interval`` seconds, and when it ends."""

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
        """Begin a stage and say so."""
        self.close()
        self._label, self._total, self._note = label, total, ""
        self._done = self._before = done
        self._start = self._said = self._clock()
        resumed = f" (continuing after {done})" if done else ""
        self._say(f"{label}{'' if total is None else f': {total}'}{resumed}")

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count the work and, now and then, report it."""
        self._done += units
        self._note = note or self._note
        now = self._clock()
        if now - self._said >= self._interval:
            self._said = now
            self._say(self._status(now))
        super().advance(units, note)

    def close(self) -> None:
        """Report the end of the stage, once."""
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
        stream = self._stream or sys.stderr
        stream.write(text + "\n")
        stream.flush()


class BarProgress(Progress):
    """A bar per stage with count, rate, time left and the latest note."""

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

    def close(self) -> None:
        """Leave the bars as they stand and give the terminal back."""
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
    """Bars where stderr is a terminal, plain lines in a log, nothing when ``quiet``."""
    if quiet:
        return Progress(cancelled)
    if sys.stderr.isatty():
        return BarProgress(cancelled)
    return LineProgress(cancelled)
