"""Projected gradients on disk, by image, so that a stopped run resumes and later ones are short."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siren_ext.unfinished import read_tables, write_tables

Floats = NDArray[np.float32]

_SECONDS = 20.0


class GradientCache:
    """Gradients of images that were measured before.

    Parameters
    ----------
    path : Path | None
        The file; None keeps them in memory only. A file of another run, or a damaged one, is
        started again.
    run : str
        Identifies model, adapter and settings.
    shape : tuple[int, int]
        Of the gradients of one image.
    """

    def __init__(self, path: Path | None, run: str, shape: tuple[int, int]) -> None:
        self._path, self._run = path, run
        self._saved = time.monotonic()
        self._changed = False
        self._known: dict[str, Floats] = {}
        found = read_tables(path, run)
        if found and found["values"].shape[1:] == shape:
            pairs = zip(found["keys"], found["values"], strict=True)
            self._known = {key.tobytes().hex(): value for key, value in pairs}

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Floats:
        return self._known[key]

    def add(self, found: Mapping[str, Floats]) -> None:
        """Add images, and save from time to time.

        Parameters
        ----------
        found : Mapping[str, array]
            Gradients by SHA-256 of what identifies an image, in hexadecimal digits.
        """
        self._known.update(found)
        self._changed = self._changed or bool(found)
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def save(self) -> None:
        """Write all images, if there are new ones."""
        if self._path is None or not self._changed:
            return
        keys = [np.frombuffer(bytes.fromhex(key), np.uint8) for key in self._known]
        values = np.stack(list(self._known.values()))
        write_tables(self._path, self._run, {"keys": np.stack(keys), "values": values})
        self._saved, self._changed = time.monotonic(), False
