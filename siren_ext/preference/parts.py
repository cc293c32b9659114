"""Finished images of a measurement, kept on disk so that a stopped run is resumed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from siren_ext.files import atomic, is_file
from siren_ext.ranks import current

_SECONDS = 20.0
_RUN = "run"

Floats = NDArray[np.float64]


class Parts:
    """Features and losses of the images that are done.

    Parameters
    ----------
    path : Path | None
        Where they are kept; None keeps them in memory only. A file of another run, or a damaged
        one, is started again.
    run : str
        Identifies models, images, coater and settings.
    """

    def __init__(self, path: Path | None, run: str) -> None:
        self._path, self._run = path, run
        self._rows: dict[int, tuple[Floats, float]] = {}
        self._saved = time.monotonic()
        if path is None or not is_file(path):
            return
        try:
            with safe_open(path, framework="np") as file:
                if (file.metadata() or {}).get(_RUN) != run:
                    return
                rows, features, losses = (
                    file.get_tensor(name) for name in ("rows", "features", "losses")
                )
        except (SafetensorError, OSError):
            return
        if np.isfinite(features).all() and np.isfinite(losses).all():
            self._rows = {
                int(row): (values, float(loss))
                for row, values, loss in zip(rows, features, losses, strict=True)
            }

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
        if self._path is None or not self._rows or not current().main:
            return
        rows = sorted(self._rows)
        features, losses = self._table(rows)
        tensors = {"rows": np.array(rows), "features": features, "losses": losses}
        with atomic(self._path, 0o600) as part:  # the message follows from it
            save_file(tensors, part, metadata={_RUN: self._run})
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
