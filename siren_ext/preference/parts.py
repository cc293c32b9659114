"""Finished images of a measurement, kept on disk so that a stopped run is resumed.

:class:`Parts` keeps what was measured of models, :class:`Copies` what coated copies look like.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.ranks import current
from siren_ext.unfinished import read_tables, write_tables

_SECONDS = 20.0
_COPIES_SECONDS = 60.0  # their file has up to 150 MB

Floats = NDArray[np.float64]


class Parts:
    """Features and losses of the images that are done.

    Attributes
    ----------
    run : str
        As given.

    Parameters
    ----------
    path : Path | None
        Where they are kept; None keeps them in memory only. A file of another run, or a damaged
        one, is started again.
    run : str
        Identifies models, images, coater and settings.
    """

    def __init__(self, path: Path | None, run: str) -> None:
        self._path, self.run = path, run
        self._rows: dict[int, tuple[Floats, float]] = {}
        self._saved = time.monotonic()
        found = read_tables(path, run)
        if found:
            self.add(found["rows"].tolist(), found["features"], found["losses"])

    @property
    def done(self) -> frozenset[int]:
        """Positions of the images that are done."""
        return frozenset(self._rows)

    def add(self, rows: list[int], features: Floats, losses: Floats) -> None:
        """Add images, and save from time to time.

        Parameters
        ----------
        rows : list[int]
            B positions.
        features : array, shape (B, k)
            Their features.
        losses : array, shape (B,)
            Their losses.
        """
        for row, values, loss in zip(rows, features, losses, strict=True):
            self._rows[row] = (values, float(loss))
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def save(self) -> None:
        """Write all images that are done; of several processes the main one does."""
        if not self._rows:
            return
        rows = sorted(self._rows)
        features, losses = self._table(rows)
        tensors = {"rows": np.array(rows), "features": features, "losses": losses}
        _write(self._path, self.run, tensors)
        self._saved = time.monotonic()

    def tables(self, count: int) -> tuple[Floats, Floats]:
        """Features (count x k) and losses (count) of all images, in order."""
        return self._table(list(range(count)))

    def _table(self, rows: list[int]) -> tuple[Floats, Floats]:
        features = np.stack([self._rows[row][0] for row in rows])
        return features, np.array([self._rows[row][1] for row in rows])

    def remove(self) -> None:
        """Delete the file."""
        if self._path is not None and current().main:
            self._path.unlink(missing_ok=True)


class Copies:
    """What is seen of the coated copies of each image that is done.

    Parameters
    ----------
    path : Path | None
        Where they are kept; None keeps nothing. A file of another run, or a damaged one, is started
        again.
    run : str
        Identifies images, coater, model and how they are seen.
    """

    def __init__(self, path: Path | None = None, run: str = "") -> None:
        self._path, self._run = path, run
        self._rows: dict[int, list[NDArray[np.float32]]] = {}
        self._saved = time.monotonic()
        found = read_tables(path, run)
        for name in sorted(found, key=lambda name: tuple(map(int, name.split(".")))):
            self._rows.setdefault(int(name.split(".")[0]), []).append(found[name])

    @property
    def done(self) -> int:
        """Number of images that are done."""
        return len(self._rows)

    def get(self, row: int) -> list[NDArray[np.float32]] | None:
        """What is seen of the copies of the image at a position; None if it is not done."""
        return self._rows.get(row)

    def add(self, row: int, seen: list[NDArray[np.float32]]) -> None:
        """Add an image, and save from time to time.

        Parameters
        ----------
        row : int
            Its position.
        seen : list of array
            float32, each with a row per copy.
        """
        if self._path is None:
            return
        self._rows[row] = seen
        if time.monotonic() - self._saved > _COPIES_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is done; of several processes the main one does."""
        tensors = {
            f"{row}.{place}": one
            for row, seen in self._rows.items()
            for place, one in enumerate(seen)
        }
        _write(self._path, self._run, tensors)
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file."""
        if self._path is not None and current().main:
            self._path.unlink(missing_ok=True)


def _write(path: Path | None, run: str, tables: dict[str, NDArray[Any]]) -> None:
    """Write a file, if there is anything to write; of several processes the main one does."""
    if path is not None and tables and current().main:
        write_tables(path, run, tables, 0o600)  # the message follows from it
