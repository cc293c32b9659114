"""The journal of a scoring run in progress: a line for each image, or shard, that is done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from siren_ext.documents import read_bytes
from siren_ext.errors import ScoreError
from siren_ext.files import atomic, is_file
from siren_ext.scale.score_worker import Scored
from siren_ext.schema import parse_as, to_plain
from siren_ext.scoring.score_set import StoredImage

T = TypeVar("T", bound=Struct)
MAX_BYTES = 2 << 30
"""Most bytes of a journal; a million images with 512 features take less."""


class _Header(Struct, forbid_unknown_fields=True):
    """The first line."""

    coater: str
    work: str


class _Line(Struct, forbid_unknown_fields=True):
    """A later line: one task that is done."""

    task: str
    stamp: str
    rows: tuple[StoredImage, ...]
    failures: tuple[tuple[str, str], ...]


class ScoreJournal:
    """What this run, and a stopped one before it, scored.

    What another coater left, or what is damaged, counts as nothing: it is only scored again. Only
    the owner can read the file, because features of coated images reveal the key's message.

    Parameters
    ----------
    path : Path
        The file; it may be missing.
    coater : str
        Fingerprint of the coater.
    work : str
        What else decides the scores.
    """

    def __init__(self, path: Path, coater: str, work: str = "") -> None:
        self._path, self._header = path, _Header(coater, work)
        self._lines: dict[str, _Line] = {}
        if is_file(path):
            with suppress(ScoreError):
                self._recall()

    def _recall(self) -> None:
        name = self._path.name
        data = read_bytes(self._path, error=ScoreError, max_bytes=MAX_BYTES, name=name)
        first, *lines = data.split(b"\n")
        if self._parsed(first, _Header) == self._header:
            for text in lines:
                with suppress(ScoreError):  # the last one was perhaps not written to its end
                    line = self._parsed(text, _Line)
                    self._lines[line.task] = line

    def _parsed(self, text: bytes, kind: type[T]) -> T:
        name = self._path.name
        return parse_as(text, kind, name=name, error=ScoreError, max_bytes=MAX_BYTES)

    def known(self, task: str) -> tuple[str, Scored] | None:
        """What is recorded of a task.

        Parameters
        ----------
        task : str
            Its name.

        Returns
        -------
        tuple[str, Scored] | None
            Its stamp then, and what was done; None if nothing is recorded.
        """
        line = self._lines.get(task)
        return None if line is None else (line.stamp, Scored(line.rows, line.failures))

    def begin(self, tasks: Iterable[str]) -> None:
        """Start the file.

        Parameters
        ----------
        tasks : Iterable[str]
            The recorded tasks that are still valid; the others are dropped.

        Raises
        ------
        ScoreError
            It can't be written.
        """
        self._lines = {name: self._lines[name] for name in tasks}
        try:
            with atomic(self._path, 0o600) as temporary, temporary.open("w") as stream:
                for line in (self._header, *self._lines.values()):
                    stream.write(_text(line))
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, task: str, stamp: str, scored: Scored) -> None:
        """Record a task.

        Parameters
        ----------
        task : str
            Its name.
        stamp : str
            Changes with its content.
        scored : Scored
            What was done.

        Raises
        ------
        ScoreError
            The file can't be written.
        """
        line = _Line(task, stamp, scored.rows, scored.failures)
        self._lines[task] = line
        try:
            with self._path.open("a") as stream:
                stream.write(_text(line))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ScoreError:
        return ScoreError(
            f"{self._path} can't be written: {error.strerror}. Check the permissions and the free "
            "space, then run the same command again to resume."
        )


def _text(line: Struct) -> str:
    return json.dumps(to_plain(line), allow_nan=False) + "\n"
