"""Atomic writing of files, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is complete.

    Parameters
    ----------
    path : Path
        The final file; missing folders are created.
    mode : int
        Permission bits of the file.

    Yields
    ------
    Path
        A temporary file in the same folder, to write to. It replaces ``path`` if the block
        succeeds and is deleted if it raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any, mode: int = 0o644) -> None:
    """Write ``data`` as indented UTF-8 JSON, atomically.

    Parameters
    ----------
    path : Path
        The file; missing folders are created.
    data : object
        Anything that :mod:`json` can write.
    mode : int
        Permission bits of the file.

    Raises
    ------
    ValueError
        If ``data`` contains NaN or infinity.
    """
    with atomic(path, mode) as temporary:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
