"""Waits for changes in a folder, by the events of the operating system where possible."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_SLICE = 0.2  # seconds between two looks at whether the user wants to stop


class Changes:
    """Waits until something may have changed in a folder.

    Events come from the library ``watchfiles`` where it is installed. Network shares send none, so
    that callers should look at the folder now and then all the same.

    Parameters
    ----------
    folder : Path
        The folder; its subfolders count too.
    interval : float
        Seconds that a wait takes at most.
    stopped : Callable[[], bool]
        Whether the user wants to stop.
    events : bool
        False waits without events, as if ``watchfiles`` were missing.
    """

    def __init__(
        self, folder: Path, interval: float, stopped: Callable[[], bool], *, events: bool = True
    ) -> None:
        self._interval, self._stopped = interval, stopped
        self._first = True  # events begin with the first wait, and something may come before it
        self._events = _events(folder, interval, stopped) if events else None

    @property
    def has_events(self) -> bool:
        """Whether the operating system tells about changes."""
        return self._events is not None

    def wait(self) -> bool:
        """Wait for a change, the interval, or the user's stop.

        Returns
        -------
        bool
            Whether something may have changed; always True without events.
        """
        if self._events is not None:
            try:
                first, self._first = self._first, False
                return bool(next(self._events)) or first
            except StopIteration:  # the user wants to stop
                return True
            except Exception:  # the folder is gone, or the system's events are used up
                self._events = None
        end = time.monotonic() + self._interval
        while not self._stopped() and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SLICE))
        return True

    def close(self) -> None:
        """Stop listening."""
        if self._events is not None:
            self._events.close()


class _Stop:
    """What ``watchfiles`` takes for a threading.Event."""

    def __init__(self, stopped: Callable[[], bool]) -> None:
        self.is_set = stopped


def _events(folder: Path, interval: float, stopped: Callable[[], bool]) -> Any:
    """A generator that yields a set of changes after each change or interval; None without."""
    try:
        from watchfiles import watch
    except ImportError:
        return None
    events: Iterator[Any] = watch(
        folder,
        watch_filter=None,
        rust_timeout=max(1, int(interval * 1000)),
        yield_on_timeout=True,
        stop_event=_Stop(stopped),  # type: ignore[arg-type]
        raise_interrupt=True,
        debounce=200,
        step=50,
    )
    return events
