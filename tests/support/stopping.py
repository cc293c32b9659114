"""Progress that stops a long step in the middle."""

from __future__ import annotations

import sys

from siren_ext.errors import Cancelled
from siren_ext.progress import Progress


class StopAfter(Progress):
    """Cancels as soon as ``units`` units of work are done."""

    def __init__(self, units: int) -> None:
        self.left = units
        super().__init__(lambda: self.left <= 0)

    def advance(self, units: int = 1, note: str = "") -> None:
        self.left -= units
        super().advance(units, note)


class StopAtQuestion(Progress):
    """Cancels at the nth time that the step asks whether it should stop."""

    def __init__(self, number: int) -> None:
        self.left = number
        super().__init__(self._asked)

    def _asked(self) -> bool:
        self.left -= 1
        return self.left <= 0


class Watched(StopAtQuestion):
    """Remembers the stages; cancels at the nth question if a number is given."""

    def __init__(self, number: int | None = None) -> None:
        self.stages: list[str] = []
        super().__init__(sys.maxsize if number is None else number)

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.stages.append(label if done != total else f"{label}: all done")


class StopInStage(Progress):
    """Cancels in the stage of this label, once ``units`` units of its work are done."""

    def __init__(self, label: str, units: int) -> None:
        super().__init__()
        self.wanted, self.left, self.label = label, units, ""

    def stage(self, label: str, total: int | None = None, done: int = 0) -> None:
        self.label = label

    def advance(self, units: int = 1, note: str = "") -> None:
        self.left -= self.label == self.wanted
        if self.left == 0:
            raise Cancelled
