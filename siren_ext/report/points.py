"""What a check of a report found, point by point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["matches", "differs", "not checked"]


@dataclass(frozen=True)
class CheckPoint:
    """One thing that was checked.

    Attributes
    ----------
    name : str
        What was checked.
    state : State
        ``matches``, ``differs`` or ``not checked``.
    text : str
        Why, in words.
    """

    name: str
    state: State
    text: str


@dataclass(frozen=True)
class ReportCheck:
    """The result of checking a report.

    Attributes
    ----------
    points : tuple[CheckPoint, ...]
        One per thing that was checked.
    """

    points: tuple[CheckPoint, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing differs. Points that could not be checked are ignored."""
        return all(point.state != "differs" for point in self.points)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Names of the points that could not be checked."""
        return tuple(point.name for point in self.points if point.state == "not checked")
