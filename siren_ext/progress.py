"""Progress and cancellation of long steps."""

from __future__ import annotations

from collections.abc import Callable

from siren_ext.errors import Cancelled


class Progress:
    """Progress that shows nothing but can be cancelled; user interfaces subclass it.

    A long step calls :meth:`stage` once per phase and :meth:`advance` after each unit of work.

    Parameters
    ----------
    cancelled : callable
        Called on every advance. Once it returns True, :class:`~siren_ext.errors.Cancelled` is
        raised and the step saves its finished work and stops.
    """

    def __init__(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._cancelled = cancelled

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase.

        Parameters
        ----------
        label : str
            What is being done, to be shown to the user.
        total : int or None
            Units of work in this phase; None if unknown.
        done : int
            Units that were finished earlier.
        """

    def advance(self, units: int = 1, note: str = "") -> None:
        """Report finished work.

        Parameters
        ----------
        units : int
            Units finished since the last call.
        note : str
            A short detail, such as a loss or a file name.

        Raises
        ------
        Cancelled
            If the user has asked to stop.
        """
        if self._cancelled():
            raise Cancelled(
                "Stopped by the user; finished work is kept, and a new call resumes it."
            )

    def notice(self, text: str) -> None:
        """Show something that the user should know, such as a setting that was changed.

        Parameters
        ----------
        text : str
            A sentence or two. Unlike a note it stays visible.
        """

    def close(self) -> None:
        """Clear the display."""


NULL = Progress()


class Named(Progress):
    """Passes everything on to another progress, with a name after each stage's label.

    Parameters
    ----------
    inner : Progress
        The progress that shows the work and decides about cancelling.
    name : str
        Appended to each label in parentheses.
    """

    def __init__(self, inner: Progress, name: str) -> None:
        super().__init__()
        self._inner, self._name = inner, name

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        """Begin a phase whose label ends with the name."""
        self._inner.stage(f"{label} ({self._name})", total, done)

    def advance(self, units: int = 1, note: str = "") -> None:
        """Report finished work to the inner progress."""
        self._inner.advance(units, note)

    def notice(self, text: str) -> None:
        """Pass a notice on to the inner progress."""
        self._inner.notice(text)
