"""Rows of the table of speeds, and how they are timed; for benchmarks/side_by_side.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least CPU seconds of each call."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.process_time()
            call()
            best[name] = min(best[name], time.process_time() - begun)
    return best


def row(
    what: str,
    goal: float,
    found: float,
    why: str = "",
    *,
    most: bool = False,
    unit: str = "x",
    rounds: int | None = None,
) -> Row:
    """A row of the table; ``most`` if the goal is an upper limit, ``rounds`` if it has its own."""
    met = found <= goal if most else found >= goal
    limit = f"{'<=' if most else '>='} {goal:.3g} {unit}".replace(" x", "x").rstrip()
    shown = f"{found:.3g} {unit}".replace(" x", "x").rstrip()
    made = {
        "what": what,
        "goal": limit,
        "found": shown,
        "value": found,
        "met": met,
        "why": "" if met else why,
    }
    return made if rounds is None else made | {"rounds": rounds}
