"""The log of a long run: time and memory per step, kept across interruptions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from siren_ext.files import write_json


class RunLog:
    """Seconds of each step and peak memory, in a JSON file beside the run's results.

    Parameters
    ----------
    path : Path
        the file; written after every step.
    head : Mapping[str, Any]
        plain values that describe the run.
    kept : Mapping[str, Any]
        what an earlier call left in the file, to resume from; empty for a new run.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        self._path = path
        self._data: dict[str, Any] = {**head, "seconds": {}, "peak_memory_gb": None, **kept}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to the step's total, whether or not it finishes."""
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self._data["seconds"]
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - start, 3)
            peaks = (peak_memory_gb(), self._data["peak_memory_gb"])
            self._data["peak_memory_gb"] = max(filter(None, peaks), default=None)
            self.write()

    def write(self) -> None:
        """Write the file, atomically."""
        write_json(self._path, self._data)


def peak_memory_gb() -> float | None:
    """Largest resident memory of this process so far in GB (1e9 bytes); None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
