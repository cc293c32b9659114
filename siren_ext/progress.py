"""Progress and cancellation of long steps, in one object that every surface can implement."""

from __future__ import annotations

from collections.abc import Callable

from siren_ext.errors import Cancelled


class Progress:
    """A silent progress that can cancel; surfaces subclass it to draw bars.

    A long step calls :meth:`stage` once per phase and :meth:`advance` after each unit of work.
    ``cancelled`` is asked on every advance; when it says yes, :class:`Cancelled` is raised and the
    step stops after having saved what it finished.
    """

    def __init__(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._cancelled = cancelled

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase of ``total`` units (None: unknown), of which ``done`` are finished."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Report ``units`` of finished work and a short note (a loss, a file name)."""
        if self._cancelled():
            raise Cancelled("Stopped by the user; finished work is kept and a new call resumes it.")

    def close(self) -> None:
        """Tidy up the display."""


NULL = Progress()


class Named(Progress):
    """Passes everything on to ``inner``, with a name behind each stage's label."""

    def __init__(self, inner: Progress, name: str) -> None:
        super().__init__()
        self._inner, self._name = inner, name

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase, named."""
        self._inner.stage(f"{label} ({self._name})", total, done)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Pass the work on; the inner progress decides about cancelling."""
        self._inner.advance(units, note)
