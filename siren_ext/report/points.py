"""What a check of a report found, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from siren_ext.text import printable

_SHOWN = 8
# exact p values differ between machines only in the last digits
_TOLERANCE = 1e-6

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


def point_of(name: str, wrong: Sequence[str], good: str) -> CheckPoint:
    """A point that differs if there are differences.

    Parameters
    ----------
    name : str
        What was checked.
    wrong : Sequence[str]
        Differences in words, such as those of :func:`differences`.
    good : str
        What to say if there are none.

    Returns
    -------
    CheckPoint
        The point, with the first differences.
    """
    if not wrong:
        return CheckPoint(name, "matches", good)
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return CheckPoint(name, "differs", "; ".join(wrong[:_SHOWN]) + more)


def differences(now: Any, stated: Any, place: str) -> list[str]:
    """Differences between computed and stated values, in words.

    Parameters
    ----------
    now, stated : Any
        Plain values; decimal numbers may differ by their millionth part.
    place : str
        What they are.

    Returns
    -------
    list[str]
        A sentence for each value that differs.
    """
    if isinstance(now, dict) and isinstance(stated, dict):
        names = [*now, *(name for name in stated if name not in now)]
        parts = (differences(now.get(n), stated.get(n), f"{place}.{n}") for n in names)
        return [text for part in parts for text in part]
    if isinstance(now, tuple | list) and isinstance(stated, tuple | list):
        if len(now) == len(stated):
            pairs = enumerate(zip(now, stated, strict=True))
            parts = (differences(a, b, f"{place}[{i}]") for i, (a, b) in pairs)
            return [text for part in parts for text in part]
    elif isinstance(now, float) and isinstance(stated, int | float):
        if np.isclose(now, float(stated), rtol=_TOLERANCE, atol=0):
            return []
    elif type(now) is type(stated) and now == stated:
        return []
    shown = (printable(str(value)[:80]) for value in (stated, now))
    return ["{} is {}, but recomputed it is {}".format(place, *shown)]
