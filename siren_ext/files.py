"""Atomic writing of files, locks on what is being written, and hashes."""

from __future__ import annotations

import errno
import functools
import hashlib
import inspect
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from siren_ext.errors import BusyError
from siren_ext.ranks import current

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# no later file can be written either: full disk, quota used up, read-only file system
_NO_MORE_FILES = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS") if hasattr(errno, name)
)
_LONGEST_ENDING = 16
_LONGEST_NAME = 255  # bytes, of all usual file systems
_PART = re.compile(r"\.part-([0-9a-f]{8}-[0-9]{1,10})-")
_OLD_SECONDS = 86_400.0  # nothing takes as long to write; also parts of other machines are old then
_tidied: set[tuple[int, str]] = set()

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def atomic(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Write a file under a temporary name and rename it once it is complete.

    What killed runs left in the folder is deleted, see :func:`tidy`. Some network shares refuse to
    change permissions. The file then keeps those of the share, which
    are at most ``0o600`` where the share knows permissions.

    Parameters
    ----------
    path : Path
        The final file; missing folders are created.
    mode : int
        Permission bits of the file, less those that the user's umask takes away.

    Yields
    ------
    Path
        A temporary file in the same folder, to write to. It replaces ``path`` if the block
        succeeds and is deleted if it raises.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path.parent)
    # a dot in a long name makes an "ending" that would not fit behind the prefix
    ending = path.suffix if len(path.suffix) <= _LONGEST_ENDING else ""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=part_prefix(), suffix=ending)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with suppress(OSError, NotImplementedError):
            temporary.chmod(mode & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _umask() -> int:
    """The permissions that the user gives to no new file; read once, because that sets it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def part_prefix() -> str:
    """How the name of a temporary file of this process begins."""
    return f".part-{owner_mark()}-"


def owner_mark() -> str:
    """This process, in the names of what nobody else uses."""
    return f"{_machine()}-{os.getpid()}"


def has_ended(mark: str) -> bool:
    """Whether the process of an :func:`owner_mark` is one of this machine, and has ended."""
    machine, _, process = mark.partition("-")
    return machine == _machine() and not _is_running(int(process))


def tidy(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder, once for each process.

    These are the files of processes of this machine that have ended, and those of other machines
    and earlier versions after a day. What can't be deleted is left.

    Parameters
    ----------
    folder : Path
        The folder; subfolders are not searched. It may be missing.
    """
    seen = (os.getpid(), os.path.abspath(folder))  # noqa: PTH100 - a link is another folder
    if seen in _tidied:
        return
    _tidied.add(seen)
    with suppress(OSError, ValueError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".part-") and _is_left(entry):
                with suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108 - there may be many


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether nobody writes a temporary file any more."""
    if not entry.is_file(follow_symlinks=False):
        return False
    owner = _PART.match(entry.name)
    if owner is not None and has_ended(owner[1]):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS


@functools.cache
def _machine() -> str:
    """Identifies where numbers of processes have a meaning: this computer, or container on it."""
    space = ""
    with suppress(OSError):
        space = str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116
    return hashlib.sha256(f"{socket.gethostname()}/{space}".encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    """Whether there is a process; True where this can't be found out."""
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x100000, False, process)  # SYNCHRONIZE
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


@contextmanager
def locked(out: Path, patience: float = 0.0) -> Iterator[None]:
    """Let no other run, of this or another process, write the same output while the block runs.

    The lock belongs to the process: the operating system releases it however the process ends.
    Where a file system has no locks, or its folder can't be written, there is none. Of several
    processes of one run the main one has the lock for all.

    Parameters
    ----------
    out : Path
        The file or folder that is written; a hidden file beside it carries the lock.
    patience : float
        Seconds to wait for another run.

    Raises
    ------
    BusyError
        If another run has the lock, and keeps it.
    """
    if not current().main:
        yield
        return
    out = _one_name(Path(out))
    made = [folder for folder in (out.parent, *out.parent.parents) if not is_present(folder)]
    place = sibling(out, ".lock", ".")
    handle = None
    with suppress(OSError, ValueError):
        out.parent.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + patience
        while (handle := _lock(place)) == _TAKEN and time.monotonic() < end:
            time.sleep(_PAUSE)
    if handle == _TAKEN:
        raise BusyError(
            f"{out} is being written by another run; only one run at a time can write it. Wait "
            "until that run has ended, or choose another output."
        )
    for folder in (out.parent, out):
        tidy(folder)
    try:
        yield
    finally:
        if handle is not None:
            _unlock(place, handle)
        for folder in made:  # a refused run leaves no empty folders
            with suppress(OSError):
                folder.rmdir()


def _one_name(out: Path) -> Path:
    """The same path for all ways to name an output.

    A link to a folder is that folder, but a link to a file is another file, which is replaced.
    """
    whole = Path(os.path.abspath(out))  # noqa: PTH100 - the last part is not followed
    try:
        return whole.resolve() if is_folder(whole) else whole.parent.resolve() / whole.name
    except (OSError, ValueError, RuntimeError):
        return whole


_PAUSE = 0.1  # seconds between two looks at a lock
_TAKEN = -1


def _lock(place: Path) -> int:
    """A handle of the locked file; _TAKEN if another run has it."""
    while True:
        new = not is_present(place)
        handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # the run before may have deleted the file between these two calls
            if os.path.samestat(os.fstat(handle), os.stat(place)):  # noqa: PTH116
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return _TAKEN
            if new:  # locks are refused here, to everybody
                with suppress(OSError):
                    place.unlink()
            raise
        os.close(handle)


def _unlock(place: Path, handle: int) -> None:
    """Delete a locked file, which releases it."""
    if sys.platform == "win32":
        os.close(handle)
        with suppress(OSError):  # the next run may have it already
            place.unlink()
        return
    with suppress(OSError):
        place.unlink()
    os.close(handle)


def one_at_a_time(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function with a parameter ``out`` run only once at a time for each; see :func:`locked`.

    Parameters
    ----------
    function : callable
        Writes ``out``, a file or folder.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with locked(Path(signature.bind(*args, **kwargs).arguments["out"])):
            return function(*args, **kwargs)

    return run


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


def sha256_if_any(path: Path) -> str:
    """SHA-256 of a file in hex digits; "" if it can't be read.

    Parameters
    ----------
    path : Path
        The file.
    """
    try:
        return sha256_file(path)
    except OSError:
        return ""


def sibling(out: Path, ending: str, start: str = "") -> Path:
    """The path beside an output whose name has an ending more; the output may be ``.``.

    Parameters
    ----------
    out : Path
        A file or folder that is written.
    ending, start : str
        Added to its name, which is shortened where file systems have no room for the whole.
    """
    named = out if out.name not in ("", "..") else Path(os.path.abspath(out))  # noqa: PTH100
    name, room = named.name, _LONGEST_NAME - len(os.fsencode(start + ending))
    if len(whole := os.fsencode(name)) > room:
        mark = f"-{hashlib.sha256(whole).hexdigest()[:8]}"
        name = whole[: room - len(mark)].decode("utf-8", "ignore") + mark
    return named.parent / f"{start}{name}{ending}"


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
