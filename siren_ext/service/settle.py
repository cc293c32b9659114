"""Which files of a folder are complete: those that have not changed for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from siren_ext.data.companions import set_apart

Stamp = tuple[int, int, int]
"""Size in bytes, time of the last change in ns, and number of a file."""

# what browsers, rsync, FTP and SFTP programs, sync clients and editors call unfinished files
_UNFINISHED = frozenset(
    {".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".opdownload"}
    | {".upload", ".uploading", ".incomplete", ".inprogress", ".swp", ".bak", ".lock"}
)


def is_temporary(path: PurePosixPath) -> bool:
    """Whether a name is that of an unfinished, hidden or system file.

    Parameters
    ----------
    path : PurePosixPath
        Relative to the watched folder.

    Returns
    -------
    bool
        True for names such as ``.a.png.x7Kq``, ``~a.png``, ``a.part.png`` and ``a.png.crdownload``.
    """
    endings = {suffix.lower() for suffix in path.suffixes}
    marked = path.name.startswith("~") or path.name.endswith("~")
    return marked or bool(endings & _UNFINISHED) or set_apart(path) is not None


def stamps(root: Path) -> dict[Path, Stamp]:
    """All files below a folder, apart from temporary ones; no file is opened.

    Parameters
    ----------
    root : Path
        The folder.

    Returns
    -------
    dict[Path, Stamp]
        The stamp of each file. Files that vanish meanwhile are left out.

    Raises
    ------
    OSError
        The folder itself can't be listed.
    """
    found: dict[Path, Stamp] = {}
    os.listdir(root)  # noqa: PTH208 - os.walk says nothing about a folder that is gone
    for current, folders, files in os.walk(root):
        here = Path(current)
        within = PurePosixPath(here.relative_to(root).as_posix())
        folders[:] = [name for name in folders if set_apart(within / name / "*") is None]
        for name in files:
            if is_temporary(within / name):
                continue
            try:
                status = (here / name).stat()
            except OSError:
                continue
            found[here / name] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


class Settling:
    """Remembers since when files have not changed.

    Parameters
    ----------
    seconds : float
        A file is complete once its stamp has stayed the same for this long. When a folder is looked
        at for the first time, a file that was last changed longer ago is complete at once.
    clock : Callable[[], float]
        Seconds since some start.
    now : Callable[[], float]
        Seconds since 1970, as file systems count.
    """

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._seconds, self._clock, self._now = seconds, clock, now
        self._since: dict[Path, tuple[Stamp, float]] = {}
        self._first = True

    def complete(self, found: Mapping[Path, Stamp]) -> dict[Path, Stamp]:
        """Those of the files that are complete.

        Parameters
        ----------
        found : Mapping[Path, Stamp]
            All files, from :func:`stamps`.

        Returns
        -------
        dict[Path, Stamp]
            The complete ones.
        """
        clock, now = self._clock(), self._now()
        since: dict[Path, tuple[Stamp, float]] = {}
        for path, stamp in found.items():
            known = self._since.get(path)
            if known is not None and known[0] == stamp:
                since[path] = known
            else:
                age = now - stamp[1] / 1e9 if self._first else 0.0
                since[path] = (stamp, clock - max(0.0, age))
        self._since, self._first = since, False
        return {
            path: stamp for path, (stamp, start) in since.items() if clock - start >= self._seconds
        }
