"""Atomic writing of files, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# no later file can be written either: full disk, quota used up, read-only file system
_NO_MORE_FILES = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS") if hasattr(errno, name)
)
_LONGEST_ENDING = 16


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is complete.

    Some network shares refuse to change permissions. The file then keeps those of the share, which
    are at most ``0o600`` where the share knows permissions.

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
    # a dot in a long name makes an "ending" that would not fit behind the prefix
    ending = path.suffix if len(path.suffix) <= _LONGEST_ENDING else ""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=ending)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with suppress(OSError, NotImplementedError):
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


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False also for a path that the system can't look up."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False also for a path that the system can't look up."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for names that are too long


def is_present(path: Path) -> bool:
    """Whether there is anything at a path; False also if the system can't look it up."""
    return os.path.lexists(path)


def real_path(path: Path) -> Path:
    """The absolute path without links.

    Parameters
    ----------
    path : Path
        The path; need not exist.

    Raises
    ------
    OSError
        A link leads back to itself, or the system can't look up the path.
    """
    try:
        return path.resolve()
    except RuntimeError as error:  # what Python before 3.13 raises for such links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


def no_more_files(error: BaseException | None) -> OSError | None:
    """The full or read-only disk behind an error; None if it has another cause.

    Parameters
    ----------
    error : BaseException | None
        The error; its causes are searched too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_MORE_FILES:
            return error
        error = error.__cause__
    return None


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
