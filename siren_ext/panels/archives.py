"""Uploaded files and what is in uploaded ZIP archives, by name and ready to be read."""

from __future__ import annotations

import contextlib
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from siren_ext.data.code_pages import CodePage
from siren_ext.data.survey import CAPTION_SUFFIXES
from siren_ext.errors import ImageError
from siren_ext.panels.host import UploadLimits
from siren_ext.text import folded

_ARCHIVE_ENTRIES = 10  # archive entries allowed per image: there are folders and captions too
_ENTRY, _END, _LOCATOR_64 = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x07"
_LONGEST_END = 22 + 0xFFFF + 76  # the end of the directory with its comment, and that of ZIP64
_BLOCK = 1 << 20
_UTF_8 = 1 << 11  # flag of an entry whose name is in UTF-8
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, EOFError, OSError,
    ValueError, OverflowError, LookupError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in an upload.

    Attributes
    ----------
    place : PurePosixPath
        Where it lies there.
    open : Callable[[], AbstractContextManager[IO[bytes]]]
        Opens it for reading.
    """

    place: PurePosixPath
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def single_files(paths: Sequence[Path]) -> list[Member]:
    """Files that were given one by one.

    Where they come from is lost. Of several files of one name, the first caption is taken to belong
    to the first image, and so on; if there are fewer captions than images, nobody knows.

    Parameters
    ----------
    paths : Sequence[Path]
        The files.

    Returns
    -------
    list[Member]
        Those of one name in folders of their own.
    """
    kinds: dict[tuple[str, bool], list[Path]] = {}
    for path in paths:
        is_caption = path.suffix.lower() in CAPTION_SUFFIXES
        kinds.setdefault((folded(path.name), is_caption), []).append(path)
    images: dict[str, int] = {}
    for (_, is_caption), same in kinds.items():
        if not is_caption:
            stem = folded(same[0].stem)
            images[stem] = max(images.get(stem, 0), len(same))
    members = []
    for (_, is_caption), same in kinds.items():
        unclear = is_caption and len(same) < images.get(folded(same[0].stem), 0)
        for number, path in enumerate(same):
            folder = PurePosixPath(f"unclear {number}" if unclear else str(number))
            place = (folder if number or unclear else PurePosixPath()) / path.name
            members.append(Member(place, partial(_open_file, path)))
    return members


@contextlib.contextmanager
def opened_archive(path: Path, limits: UploadLimits) -> Iterator[list[Member]]:
    """Open a ZIP archive.

    Parameters
    ----------
    path : Path
        The archive.
    limits : UploadLimits
        The host's limits.

    Yields
    ------
    list[Member]
        The files in it, to be read in the block.

    Raises
    ------
    ImageError
        It has too many files, or one of them can't be read. The block must not let errors of
        writing through, which would be taken for faults of the archive.
    """
    most = limits.files * _ARCHIVE_ENTRIES
    try:
        _refuse_more(path, _count(path), most)
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _refuse_more(path, len(entries), most)
            files = [
                (place, entry)
                for entry, name in zip(entries, _names(entries), strict=True)
                if entry.filename  # is_dir fails for an empty name
                and not entry.is_dir()
                and (place := PurePosixPath(name.replace("\\", "/"))).name
            ]
            yield [Member(place, partial(archive.open, entry)) for place, entry in files]
    except _ARCHIVE_ERRORS as error:
        raise ImageError(
            f"{path.name} can't be unpacked: {str(error)[:200]}. Expected an ordinary ZIP archive "
            "without a password."
        ) from error


def _refuse_more(path: Path, count: int, most: int) -> None:
    if count > most:
        raise ImageError(
            f"{path.name} has {count} entries; at most {most} are accepted. Split it into smaller "
            "archives."
        )


def _count(path: Path) -> int:
    """How many entries the directory of an archive has; 0 if it has none that can be found.

    The library makes an object of each, which takes memory and time, before it tells. The number
    that the archive states can't be trusted.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - _LONGEST_END))
        tail = stream.read()
        plain = tail.startswith(_END, max(0, len(tail) - 22)) and tail.endswith(b"\0\0")
        place = len(tail) - 22 if plain else tail.rfind(_END)  # as the library looks for it
        if place < 0 or len(tail) < place + 16:
            return 0
        end = size - len(tail) + place
        (length,) = struct.unpack_from("<I", tail, place + 12)
        if tail.startswith(_LOCATOR_64, place - 20) and place >= 76:
            (length,) = struct.unpack_from("<Q", tail, place - 36)
            end -= 76
        if length > end:
            return 0
        stream.seek(end - length)
        count, block, left = 0, b"", length
        while left and (more := stream.read(min(left, _BLOCK))):
            left -= len(more)
            block = block[-3:] + more
            count += block.count(_ENTRY)
    return count


def _names(entries: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The names of entries as they were meant.

    Without the flag for UTF-8, Python reads names in cp437. But macOS writes UTF-8 without it, and
    programs on Windows write the code page of its language, which is one for the whole archive.
    """
    names = [entry.filename for entry in entries]
    unknown: dict[int, bytes] = {}
    for place, entry in enumerate(entries):
        given = entry.orig_filename.partition("\0")[0]
        # newer Pythons take the name from a field for Unicode, if there is one
        own = entry.filename in (given, given.replace("\\", "/"))
        if given.isascii() or entry.flag_bits & _UTF_8 or not own:
            continue
        content = given.encode("cp437")
        try:
            names[place] = content.decode("utf-8")
        except UnicodeDecodeError:
            unknown[place] = content
    parts = [content.replace(b"/", b"\n") for content in unknown.values()]
    codec = CodePage(parts).common or "cp437"
    for place, content in unknown.items():
        with contextlib.suppress(UnicodeDecodeError):
            names[place] = content.decode(codec)
    return names
