"""Folders and object stores by one interface: whatever fsspec reaches by a URL.

Access keys and the address of a store come from the environment or the files of the store's own
library (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws``), never from this program.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from siren_ext.errors import DatasetError, MissingExtraError, first_line
from siren_ext.files import atomic
from siren_ext.text import printable

# one letter would be a drive of Windows; pathlib makes one slash of two
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?!/)(.+)", re.DOTALL)
_UNSAFE = re.compile(r"[^\w .()+-]")
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified")


def url_of(path: Path | str) -> str | None:
    """The URL that was given in place of a path; None for a path.

    Parameters
    ----------
    path : Path | str
        What was given.
    """
    found = _URL.fullmatch(str(path))
    if found is None:
        return None
    slashes = ":///" if found[1].lower() == "file" else "://"
    return f"{found[1]}{slashes}{found[2].rstrip('/')}"


def copy_name(name: str) -> str:
    """The name of a temporary copy, which messages tell: the last part of a name, if it is usual.

    Parameters
    ----------
    name : str
        Name in a place or shard, of which any system may have made any text.

    Returns
    -------
    str
        A name that any file system takes.
    """
    last = PurePosixPath(name).name
    suffix = _UNSAFE.sub("_", PurePosixPath(last).suffix)[:16]
    stem = _UNSAFE.sub("_", PurePosixPath(last).stem)[:60].strip(" .")
    return f"{stem or 'image'}{suffix}"


@dataclass(frozen=True)
class Found:
    """One file of a place.

    Attributes
    ----------
    size : int
        Bytes.
    stamp : str
        Changes with the content: the store's hash, or else the time of the last change.
    """

    size: int
    stamp: str


class Place:
    """A folder that fsspec reaches.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/folder``, or the path of a folder.

    Raises
    ------
    MissingExtraError
        fsspec or the library of the store is not installed.
    DatasetError
        fsspec does not know this kind of URL.
    """

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtraError("fsspec", "cluster") from error
        self.url = url
        try:
            self._fs, root = url_to_fs(url)
        except ImportError as error:
            raise MissingExtraError(_missing(error), "cluster") from error
        except ValueError as error:
            raise DatasetError(
                f"{url} can't be used: {error}. Give a folder, or a URL such as s3://bucket/folder."
            ) from error
        self.root = str(root).rstrip("/")
        self._local = "file" in (kind if isinstance(kind := self._fs.protocol, tuple) else (kind,))

    def inside(self, other: Place) -> bool:
        """Whether this is the other place, or in it.

        Parameters
        ----------
        other : Place
            The other one.
        """
        same = type(self._fs) is type(other._fs)
        return same and f"{self.root}/".startswith(f"{other.root}/")

    def files(self) -> dict[str, Found]:
        """All files, also in subfolders, by their names below the place.

        Returns
        -------
        dict[str, Found]
            Empty if there is no such place.

        Raises
        ------
        DatasetError
            The place can't be listed.
        """
        with self._told("can't be listed"):
            self._fs.invalidate_cache()
            try:
                listed = self._fs.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
            names = {name[len(self.root) + 1 :]: info for name, info in listed.items()}
            return {
                name: Found(int(info.get("size") or 0), _stamp(info))
                for name, info in names.items()
                if name
            }

    def look_up(self, name: str) -> Found:
        """One file.

        Parameters
        ----------
        name : str
            Its name below the place.

        Raises
        ------
        DatasetError
            There is none, or it can't be looked up.
        """
        with self._told(f"can't give {printable(name)}"):
            try:
                info = self._fs.info(f"{self.root}/{name}")
            except FileNotFoundError as error:
                raise DatasetError(f"There is no {printable(name)} in {self.url}.") from error
        if info.get("type") != "file":
            raise DatasetError(f"{self.url}/{printable(name)} is a folder; expected a file.")
        return Found(int(info.get("size") or 0), _stamp(info))

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine.

        Parameters
        ----------
        name : str
            Its name below the place.
        path : Path
            Where to.

        Raises
        ------
        DatasetError
            It can't be read.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._told(f"can't give {printable(name)}"):
            self._fs.get_file(f"{self.root}/{name}", str(path))

    def send(self, path: Path, name: str) -> None:
        """Copy a file of this machine here; one of that name is replaced.

        Parameters
        ----------
        path : Path
            The file.
        name : str
            Its new name below the place.

        Raises
        ------
        DatasetError
            It can't be written.
        """
        with self._told(f"can't take {printable(name)}"):
            target = f"{self.root}/{name}"
            self._fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            self._fs.put_file(str(path), target)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """A file of this machine with the content of one of the place, while the block runs.

        Parameters
        ----------
        name : str
            Its name below the place.

        Yields
        ------
        Path
            The file itself if it is on this machine, else a copy.

        Raises
        ------
        DatasetError
            It can't be read.
        """
        if self._local:
            yield Path(self.root, name)
            return
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            path = Path(folder, copy_name(name))
            self.fetch(name, path)
            yield path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A file to write, which gets its name in the place at the end of the block.

        Parameters
        ----------
        name : str
            Its name below the place; one of that name is replaced.

        Yields
        ------
        Path
            A temporary file; it is deleted if the block raises.

        Raises
        ------
        DatasetError
            It can't be written.
        """
        if self._local:
            with atomic(Path(self.root, name)) as path:
                yield path
            return
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            path = Path(folder, copy_name(name))
            yield path
            self.send(path, name)

    def read(self, name: str) -> bytes:
        """The content of a file; raises :class:`DatasetError` if it can't be read."""
        with self._told(f"can't give {printable(name)}"):
            content: bytes = self._fs.cat_file(f"{self.root}/{name}")
            return content

    def delete(self, name: str) -> None:
        """Delete a file; raises :class:`DatasetError` if that is not possible."""
        with self._told(f"can't delete {printable(name)}"):
            self._fs.rm_file(f"{self.root}/{name}")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn the errors of a store's library, which has many kinds, into one of this package."""
        try:
            yield
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(
                f"{self.url} {what}: {first_line(error)}. Check the URL, the permissions and the "
                "network, then run the same command again to resume."
            ) from error


def _stamp(info: dict[str, Any]) -> str:
    marks = [str(info[name]) for name in _MARKS if info.get(name) is not None]
    return " ".join([*marks[:1], str(info.get("size"))])


def _missing(error: ImportError) -> str:
    return error.name or str(error).splitlines()[0]
