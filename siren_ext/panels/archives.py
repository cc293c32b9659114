"""Uploaded files and what is in uploaded ZIP archives, by name and ready to be read."""

from __future__ import annotations

import contextlib
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

from siren_ext.data.survey import CAPTION_SUFFIXES
from siren_ext.errors import ImageError
from siren_ext.panels.host import UploadLimits
from siren_ext.text import folded

_ARCHIVE_ENTRIES = 10  # archive entries allowed per image: there are folders and captions too
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
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > limits.files * _ARCHIVE_ENTRIES:
                raise ImageError(
                    f"{path.name} has {len(entries)} entries; at most "
                    f"{limits.files * _ARCHIVE_ENTRIES} are accepted. Split it."
                )
            yield [
                Member(place, partial(archive.open, entry))
                for entry in entries
                if entry.filename  # is_dir fails for an empty name
                and not entry.is_dir()
                and (place := PurePosixPath(entry.filename.replace("\\", "/"))).name
            ]
    except _ARCHIVE_ERRORS as error:
        raise ImageError(
            f"{path.name} can't be unpacked: {str(error)[:200]}. Expected a plain "
            "ZIP archive without a password."
        ) from error
