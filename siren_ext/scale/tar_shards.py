"""Shards of webdataset: tar files in which the members of a sample follow each other.

The members of a sample have the same name up to the first dot, its key (``sub/0001.jpg``,
``sub/0001.txt``); see https://github.com/webdataset/webdataset. Nothing is unpacked under the name
of a member, so no name can lead out of a folder.
"""

from __future__ import annotations

import copy
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any

from siren_ext.data.companions import set_apart
from siren_ext.data.image_files import readable_suffixes
from siren_ext.data.picture_types import (
    HEAD_BYTES,
    can_read,
    picture_type,
    type_by_content,
    why_unread,
)
from siren_ext.errors import DatasetError, ImageError, first_line
from siren_ext.scale.shards import MAX_IMAGE_BYTES, ShardImage
from siren_ext.text import printable

MAX_HEADER_BYTES = 1 << 20
"""Most bytes of the text before a member, such as a long name, which is read into memory."""
MAX_MEMBERS = 10_000
"""Most members of one key."""
_PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_TEXTS = frozenset((*_PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK))
_FREE = re.compile(r"[/\\]|[A-Za-z]:")
_OF_NAME = frozenset(("path", "linkpath", "size"))


class TarSample:
    """The members of one key.

    Parameters
    ----------
    archive : tarfile.TarFile
        Has them.
    key : str
        The key.
    """

    def __init__(self, archive: tarfile.TarFile, key: str) -> None:
        self._archive, self.key = archive, printable(key)
        self.members: list[tarfile.TarInfo] = []
        self.pictures: set[str] = set()
        self.refused: list[tuple[str, str]] = []

    @property
    def images(self) -> Sequence[ShardImage]:
        """The pictures; those with more than one ending, such as ``.mask.png``, don't belong."""
        return [
            ShardImage(info.name, not _has_two_endings(info.name))
            for info in self.members
            if info.name in self.pictures
        ]

    @property
    def names(self) -> Sequence[str]:
        """Names of all members."""
        return [info.name for info in self.members]

    def save(self, image: ShardImage, path: Path) -> None:
        """Write the file of a picture; raises :class:`ImageError` if it is too large."""
        info = next(info for info in self.members if info.name == image.name)
        if info.size > MAX_IMAGE_BYTES:
            raise ImageError(
                f"It has {info.size:,} bytes; expected at most {MAX_IMAGE_BYTES:,} for an image."
            )
        with self.content(info) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)

    def content(self, info: tarfile.TarInfo) -> IO[bytes]:
        """The content of a member that is a file."""
        stream = self._archive.extractfile(info)
        assert stream is not None  # only files have content
        return stream


class TarShard:
    """A tar file that is read; see :class:`siren_ext.scale.shards.Shard`.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        What messages call it.

    Raises
    ------
    DatasetError
        It is no tar file, or can't be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        try:
            self._stream = path.open("rb")
        except OSError as error:
            raise DatasetError(f"{name} can't be read: {error.strerror}.") from error
        try:
            self._archive = tarfile.open(  # noqa: SIM115 - closed by __exit__
                fileobj=self._stream, mode="r:", tarinfo=_Header
            )
        except (tarfile.TarError, OSError, ValueError) as error:
            self._stream.close()
            raise DatasetError(
                f"{name} is not a tar file: {first_line(error)}. Expected an uncompressed tar "
                "file with images; get it again, or unpack it if it is compressed."
            ) from error

    def __enter__(self) -> TarShard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._archive.close()
        self._stream.close()

    def samples(self, count: int) -> Iterator[TarSample]:
        """All samples in order, of which only the present one is in memory.

        Parameters
        ----------
        count : int
            Not used: the content of members stays in the file.

        Yields
        ------
        TarSample
            One sample.

        Raises
        ------
        DatasetError
            The file is damaged.
        """
        sample: TarSample | None = None
        begun, key = False, ""
        for info, head in self._members():
            found = _key(info)
            if sample is None or found != key:
                if sample is not None:
                    yield sample
                sample, key = TarSample(self._archive, found), found
            begun = True
            if len(sample.members) + len(sample.refused) >= MAX_MEMBERS:
                raise DatasetError(
                    f"{self._name} has more than {MAX_MEMBERS:,} members with the key "
                    f"{sample.key}; expected a different key for each image."
                )
            kind = _picture_type(info.name, head) if info.isreg() else None
            if why := _refusal(info, kind):
                sample.refused.append((printable(info.name), why))
                continue
            sample.members.append(info)
            if kind is not None:
                sample.pictures.add(info.name)
        if sample is not None:
            yield sample
        if not begun:
            raise DatasetError(f"{self._name} is empty; expected a tar file with images.")

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """All members, none of which is kept, with their first bytes."""
        archive: Any = self._archive  # whose list of members is not in its types
        last = "its beginning"
        try:
            while (info := archive.next()) is not None:
                archive.members = []  # or else all of them stay in memory
                last = printable(info.name)
                head = archive.extractfile(info).read(HEAD_BYTES) if info.isreg() else b""
                yield info, head
            # tarfile takes a damaged header for the end, which is a block of zeros
            self._stream.seek(archive.offset)
            rest = self._stream.read(tarfile.BLOCKSIZE)
        except (tarfile.TarError, OSError, ValueError) as error:
            raise self._damaged(last, first_line(error)) from error
        if rest.strip(b"\0"):
            raise self._damaged(last, "the next header can't be read")

    def _damaged(self, last: str, why: str) -> DatasetError:
        return DatasetError(
            f"{self._name} is damaged at {last} or after it: {why}. Get the file again, or write "
            "it again."
        )

    def writer(self, path: Path) -> TarWriter:
        """What writes a tar file like this one.

        Parameters
        ----------
        path : Path
            The new file.
        """
        return TarWriter(path)


class TarWriter:
    """Writes a tar file; see :class:`siren_ext.scale.shards.Writer`.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._archive: Any = tarfile.open(  # noqa: SIM115 - closed by close
            path, "w", format=tarfile.PAX_FORMAT
        )

    def add(self, sample: Any, changed: Mapping[str, tuple[str, Path]]) -> None:
        """Write the members of a sample in their order.

        Parameters
        ----------
        sample : TarSample
            The sample.
        changed : Mapping[str, tuple[str, Path]]
            New name and file of each changed picture, by its name.
        """
        for info in sample.members:
            new = copy.copy(info)
            # what was read into the fields above them, and would be written instead of these
            new.pax_headers = {k: v for k, v in info.pax_headers.items() if k not in _OF_NAME}
            if info.name in changed:
                new.name, path = changed[info.name]
                new.size = path.stat().st_size
                with path.open("rb") as stream:
                    self._archive.addfile(new, stream)
            elif info.isreg():
                with sample.content(info) as stream:
                    self._archive.addfile(new, stream)
            else:
                self._archive.addfile(new)
            self._archive.members = []

    def close(self) -> None:
        """Write the end."""
        self._archive.close()


class _Header(tarfile.TarInfo):
    """Refuses long texts before they are read into memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _TEXTS and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(
                f"a header claims {self.size:,} bytes of text; expected at most "
                f"{MAX_HEADER_BYTES:,}"
            )
        return super()._proc_member(archive)  # type: ignore[misc]


def _ending(name: str) -> str:
    """What follows the key, from the first dot of the last part; "" if there is none."""
    last = name.rpartition("/")[2]
    return last[last.index(".", 1) :] if "." in last[1:] else ""


def _key(info: tarfile.TarInfo) -> str:
    ending = _ending(info.name)
    return info.name if info.isdir() or not ending else info.name[: -len(ending)]


def _has_two_endings(name: str) -> bool:
    return _ending(name).count(".") > 1


def _picture_type(name: str, head: bytes) -> str | None:
    """The type of a picture; None for other files.

    The content decides, as in folders: a picture with an odd ending must not be copied as it is.
    An ending alone counts only if it is that of a picture which can be read, because others, such
    as ``.raw`` and ``.clip``, may stand for anything here.
    """
    suffix = PurePosixPath(name).suffix.lower()
    known = type_by_content(head) is not None or suffix in readable_suffixes()
    return picture_type(suffix, head) if known else None


def _refusal(info: tarfile.TarInfo, kind: str | None) -> str:
    """Why a member is not used; "" if it is. ``kind`` is the type of a picture."""
    if _FREE.match(info.name) or ".." in re.split(r"[/\\]", info.name):
        return "its name points outside the folder in which the shard is unpacked; it is left out."
    if info.issym() or info.islnk():
        return "is a link; expected files. It is left out."
    if not (info.isdir() or info.isreg()) or info.issparse():
        return "is not an ordinary file; it is left out."
    if set_apart(PurePosixPath(info.name)) is not None:
        return "is a hidden file or a system file; it is left out."
    if kind is not None and not can_read(kind) and not _has_two_endings(info.name):
        return f"{why_unread(kind)} It is left out, so that it is not published without a coating."
    return ""
