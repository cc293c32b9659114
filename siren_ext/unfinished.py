"""Tables that a stopped run has finished: kept on disk, and checked before they are used again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.files import atomic, is_file

_RUN, _DIGEST = "run", "sha256"


def write_tables(
    path: Path, run: str, tables: Mapping[str, NDArray[Any]], mode: int = 0o644
) -> None:
    """Write the tables of a run to a safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    run : str
        Identifies what was measured and how.
    tables : Mapping[str, array]
        By name; any shapes, with numbers or truth values.
    mode : int
        Permission bits of the file.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(table) for name, table in tables.items()}
    with atomic(path, mode) as part:
        save_file(whole, part, metadata={_RUN: run, _DIGEST: _digest(whole)})


def read_tables(path: Path | None, run: str) -> dict[str, NDArray[Any]]:
    """Read the tables of a run.

    Parameters
    ----------
    path : Path or None
        The file.
    run : str
        As it was written.

    Returns
    -------
    dict[str, array]
        By name. Empty if there is no file, or if it is damaged or of another run.
    """
    from safetensors import SafetensorError, safe_open

    if path is None or not is_file(path):
        return {}
    try:
        with safe_open(path, framework="np") as file:
            told = file.metadata() or {}
            if told.get(_RUN) != run:
                return {}
            tables = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # the last ones: kinds of numbers that numpy, or this numpy, lacks
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError):
        return {}
    return tables if told.get(_DIGEST) == _digest(tables) else {}


def _digest(tables: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of names, kinds, shapes and values.

    A safetensors file has no checksum: with some damage it can be read, but holds other tables.
    """
    digest = hashlib.sha256()
    for name, table in sorted(tables.items()):
        digest.update(repr((name, table.dtype.str, table.shape)).encode())
        digest.update(table.tobytes())
    return digest.hexdigest()
