"""Projected gradients on disk, by image, so that a stopped run resumes and later ones are short."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from siren_ext.files import atomic, is_file

Floats = NDArray[np.float32]

_SECONDS = 20.0
_RUN = "run"


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
        self._path, self._run, self._shape = path, run, shape
        self._saved = time.monotonic()
        self._changed = False
        self._known: dict[str, Floats] = {}
        if path is not None and is_file(path):
            self._known = self._read(path)

    def _read(self, path: Path) -> dict[str, Floats]:
        """What a file of the same run holds."""
        try:
            with safe_open(path, framework="np") as file:
                if (file.metadata() or {}).get(_RUN) != self._run:
                    return {}
                keys, values = file.get_tensor("keys"), file.get_tensor("values")
        except (SafetensorError, OSError):
            return {}
        good = keys.ndim == 2 and keys.dtype == np.uint8 and values.dtype == np.float32
        if not good or values.shape != (len(keys), *self._shape) or not np.isfinite(values).all():
            return {}
        return {key.tobytes().hex(): value for key, value in zip(keys, values, strict=True)}

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
        tensors = {"keys": np.stack(keys), "values": np.stack(list(self._known.values()))}
        with atomic(self._path) as part:
            save_file(tensors, part, metadata={_RUN: self._run})
        self._saved, self._changed = time.monotonic(), False
