"""The journal of the HTTP service: one line for every image that was coated.

With it an owner can show later which files were coated, when, and by which coater and key. It holds
hashes, scores and settings, but no key, no image, no name and no address.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct

from siren_ext.coating.manifest import CoatEntry
from siren_ext.errors import DatasetError
from siren_ext.files import is_present, sha256_file
from siren_ext.schema import parse_as, to_plain

_FORMAT: Literal["siren_ext.service_journal"] = "siren_ext.service_journal"
_LONGEST_LINE = 1 << 20

T = TypeVar("T", bound=Struct)


class ServiceHeader(Struct, forbid_unknown_fields=True, kw_only=True):
    """What the following lines have in common; written at each start of the service.

    Attributes
    ----------
    coater : str
        Fingerprint of the coater.
    key : str
        Salted fingerprint of the key, "" without one.
    strength : float
        Factor on the coater's residual.
    started : str
        Time of the start, UTC.
    """

    format: Literal["siren_ext.service_journal"] = _FORMAT
    version: Literal[1] = 1
    coater: str
    key: str = ""
    strength: float
    started: str


class ServedImage(Struct, forbid_unknown_fields=True, kw_only=True):
    """One image that was coated.

    Attributes
    ----------
    id : str
        Number of the request, also in the header ``X-Siren-Id`` of the answer.
    time : str
        When it was coated, UTC.
    entry : CoatEntry
        As in the manifest of a folder; names are made from ``id``.
    """

    id: str
    time: str
    entry: CoatEntry


class ServiceJournal:
    """Appends to a journal; may be used by several threads.

    Parameters
    ----------
    path : Path
        The file, which the caller has locked (:func:`siren_ext.files.locked`); may exist.
    coater, key, strength
        As in :class:`ServiceHeader`.

    Raises
    ------
    DatasetError
        The file is something else.
    OSError
        It can't be written.
    """

    def __init__(self, path: Path, coater: str, key: str, strength: float) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._torn = True  # the last line of a killed run may be incomplete
        self._head = ServiceHeader(coater=coater, key=key, strength=strength, started=utc_now())
        if is_present(self.path):
            self._refuse_other_files()
        self._append(self._head)

    def _refuse_other_files(self) -> None:
        with self.path.open("rb") as stream:
            first = stream.readline(_LONGEST_LINE)
        if first and _parsed(first, ServiceHeader) is None:
            raise DatasetError(
                f"{self.path} is not a journal of 'siren-ext serve'; expected a journal, or the "
                "name of a new file."
            )

    def add(self, number: str, entry: CoatEntry) -> ServedImage:
        """Record an image; it is on the disk when this returns.

        Parameters
        ----------
        number : str
            Of the request.
        entry : CoatEntry
            What was done.

        Returns
        -------
        ServedImage
            The line.

        Raises
        ------
        OSError
            It can't be written.
        """
        image = ServedImage(id=number, time=utc_now(), entry=entry)
        self._append(image)
        return image

    def _append(self, values: Struct) -> None:
        line = json.dumps(to_plain(values), allow_nan=False)
        with self._lock, self.path.open("a+b") as stream:
            if stream.tell() == 0 and values is not self._head:  # moved away to start a new one
                line = json.dumps(to_plain(self._head), allow_nan=False) + "\n" + line
            elif self._torn and stream.tell():
                stream.seek(-1, os.SEEK_END)
                line = line if stream.read(1) == b"\n" else "\n" + line
            self._torn = True
            stream.write(line.encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
            self._torn = False


def read_journal(path: Path) -> Iterator[tuple[ServiceHeader, ServedImage]]:
    """The images of a journal, with what was in use. Damaged lines are left out.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    tuple[ServiceHeader, ServedImage]
        In the order of their coating.

    Raises
    ------
    DatasetError
        It is no journal, or can't be read.
    """
    head: ServiceHeader | None = None
    try:
        with Path(path).open("rb") as stream:
            while line := stream.readline(_LONGEST_LINE):
                if new := _parsed(line, ServiceHeader):
                    head = new
                elif head is None:
                    raise DatasetError(
                        f"{path} is not a journal of 'siren-ext serve': its first line is not "
                        "that of a journal."
                    )
                elif image := _parsed(line, ServedImage):
                    yield head, image
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror}.") from error


def find_image(path: Path, image: Path) -> list[tuple[ServiceHeader, ServedImage]]:
    """What a journal says about a file, as it was uploaded or as it was sent back.

    Parameters
    ----------
    path : Path
        The journal.
    image : Path
        The file; it must be the same to the last byte.

    Returns
    -------
    list[tuple[ServiceHeader, ServedImage]]
        All lines about it.

    Raises
    ------
    DatasetError
        The journal can't be read.
    OSError
        The file can't be read.
    """
    found = sha256_file(image)
    return [
        (head, one)
        for head, one in read_journal(path)
        if found in (one.entry.source_sha256, one.entry.output_sha256)
    ]


def utc_now() -> str:
    """The time in UTC to the second, such as 2026-01-31T12:00:00Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(line: bytes, kind: type[T]) -> T | None:
    """A line as a structure; None if it is another or damaged."""
    try:
        return parse_as(line, kind, name="the line", error=DatasetError)
    except DatasetError:
        return None
