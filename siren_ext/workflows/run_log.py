"""The log of a long run: what the run is, and its time and memory, kept across interruptions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from siren_ext.documents import read_json
from siren_ext.errors import ConfigError
from siren_ext.files import write_json


class RunLog:
    """Binds a folder to one run, and logs the seconds of each step and the peak memory.

    Parameters
    ----------
    path : Path
        JSON file in the folder of the run; written after every step.
    what : str
        kind of run for messages, such as demo or study.
    settings : Mapping[str, Any]
        plain values that everything in the folder depends on.
    key : str
        name of the settings in the file.

    Raises
    ------
    ConfigError
        the folder holds a run with other settings, or something else.
    """

    def __init__(
        self, path: Path, what: str, settings: Mapping[str, Any], *, key: str = "identity"
    ) -> None:
        self._path = path
        settings = json.loads(json.dumps(settings))  # as read from the file: tuples are lists
        if path.exists():
            self._data = _earlier(path, what, settings, key)
            return
        folder = path.parent
        if folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):
            raise ConfigError(
                f"{folder} holds files that do not belong to a {what}; name a new or empty folder."
            )
        self._data = {key: settings, "seconds": {}, "peak_memory_gb": None}
        self._write()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to the step's total, whether or not it finishes.

        Parameters
        ----------
        name : str
            the step; further calls add to its time.
        """
        start = time.monotonic()
        try:
            yield
        finally:
            seconds = self._data["seconds"]
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - start, 3)
            peaks = (peak_memory_gb(), self._data["peak_memory_gb"])
            self._data["peak_memory_gb"] = max(filter(None, peaks), default=None)
            self._write()

    def costs(self) -> dict[str, Any]:
        """Time and memory so far.

        Returns
        -------
        dict[str, Any]
            ``seconds`` by step, and ``peak_memory_gb`` in 1e9 bytes, None if not known.
        """
        return {"seconds": self._data["seconds"], "peak_memory_gb": self._data["peak_memory_gb"]}

    def _write(self) -> None:
        write_json(self._path, self._data)


def _earlier(path: Path, what: str, settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The log that an earlier call left, checked to be of a run with these settings."""
    data = read_json(path, error=ConfigError, advice="Name another folder.")
    try:
        before = dict(data[key])
        data = {**data, "seconds": dict(data["seconds"]), "peak_memory_gb": data["peak_memory_gb"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} is not the log of a {what} (found {type(data).__name__} without {key}, "
            "seconds and peak_memory_gb); name another folder."
        ) from error
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
        raise ConfigError(
            f"{path.parent} holds a {what} that differs in {', '.join(changed)} (see "
            f"{path.name}); name another folder, or delete this one."
        )
    return data


def peak_memory_gb() -> float | None:
    """Largest resident memory of this process so far.

    Returns
    -------
    float | None
        in GB (1e9 bytes); None on Windows, where it is not known.
    """
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
