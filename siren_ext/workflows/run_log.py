"""The log of a long run: what the run is, and its time and memory, kept across interruptions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from siren_ext.documents import read_json
from siren_ext.errors import ConfigError
from siren_ext.files import write_json
from siren_ext.schema import convert, to_plain

_ADVICE = "Name another folder."


class _Costs(Struct, forbid_unknown_fields=True):
    """What a log holds beside the settings."""

    seconds: dict[str, Annotated[float, Meta(ge=0)]]
    peak_memory_gb: Annotated[float, Meta(ge=0)] | None


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
        self._head, self._costs = {key: settings}, _Costs({}, None)
        if path.exists():
            before, costs = _earlier(path, what, key)
            changed = [name for name in settings if before.get(name) != settings[name]]
            if not changed:
                self._head, self._costs = {key: before}, costs  # it may know more settings
                return
            if _holds_more(path):
                raise ConfigError(
                    f"{path.parent} contains a {what} that differs in {', '.join(changed)} (see "
                    f"{path.name}); choose another folder, or delete this one."
                )
        elif _holds_more(path):
            raise ConfigError(
                f"{path.parent} contains files that do not belong to a {what}; choose a new or "
                "empty folder."
            )
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
            costs = self._costs
            spent = costs.seconds.get(name, 0.0) + time.monotonic() - start
            costs.seconds[name] = round(spent, 3)
            peaks = (peak_memory_gb(), costs.peak_memory_gb)
            costs.peak_memory_gb = max(filter(None, peaks), default=None)
            self._write()

    def costs(self) -> dict[str, Any]:
        """Time and memory so far.

        Returns
        -------
        dict[str, Any]
            ``seconds`` by step, and ``peak_memory_gb`` in 1e9 bytes, None if not known.
        """
        plain: dict[str, Any] = to_plain(self._costs)
        return plain

    def _write(self) -> None:
        write_json(self._path, {**self._head, **self.costs()})


def _earlier(path: Path, what: str, key: str) -> tuple[dict[str, Any], _Costs]:
    """Settings and costs that an earlier call logged."""
    data = read_json(path, error=ConfigError, advice=_ADVICE)
    before = data.pop(key, None) if isinstance(data, dict) else None
    if not isinstance(before, dict):
        raise ConfigError(f"{path} is not the log of a {what}: it has no {key}. {_ADVICE}")
    return before, convert(data, _Costs, name=str(path), error=ConfigError, advice=_ADVICE)


def _holds_more(path: Path) -> bool:
    """Whether the folder holds more than the log, which a call that fails at once leaves alone."""
    if not path.parent.is_dir():
        return False
    return any(p != path and not p.name.startswith(".") for p in path.parent.iterdir())


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
