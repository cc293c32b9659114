"""The journal of a coating run in progress, so that an interrupted run can be resumed.

Each finished image is one line, so a killed run loses only the images it was working on. At the end
the journal becomes the manifest. Like the manifest, it contains no key and no path of the machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from siren_ext.coating.manifest import (
    MANIFEST_NAME,
    MAX_BYTES,
    START_OVER,
    CoatConfig,
    CoatEntry,
    CoatFailure,
    CoatManifest,
    settings_of,
)
from siren_ext.data.lossy import SUFFIXES
from siren_ext.documents import read_bytes
from siren_ext.errors import DatasetError
from siren_ext.files import atomic, is_present
from siren_ext.schema import parse_as, to_plain

JOURNAL_NAME = ".siren_journal.jsonl"
_MORE = b'{"outputs"'
_IMAGE_SUFFIXES = frozenset(suffix for several in SUFFIXES.values() for suffix in several)

T = TypeVar("T", bound=Struct)


class _Header(Struct, forbid_unknown_fields=True, kw_only=True):
    """The first line of a journal. The others are entries, and names of further files."""

    coater: str
    config: dict[str, Any]
    key: str = ""
    outputs: list[str]


class _More(Struct, forbid_unknown_fields=True):
    """A later line: further files that the run will write."""

    outputs: list[str]


class CoatJournal:
    """What this and earlier runs wrote into a folder.

    Parameters
    ----------
    out : Path
        The output folder.
    coater : str
        Fingerprint of the coater.
    config : CoatConfig
        The settings.
    key : str
        Fingerprint of the key, "" without one.

    Raises
    ------
    DatasetError
        The manifest or journal in the folder is damaged.
    """

    def __init__(self, out: Path, coater: str, config: CoatConfig, key: str = "") -> None:
        self.out, self.coater, self.config, self.key = out, coater, config, key
        self.entries: dict[str, CoatEntry] = {}
        self._known: dict[str, CoatEntry] = {}
        self._sources: dict[str, str] = {}
        self._made_with = (coater, key)
        self._written: set[str] = set()
        self._owned: set[str] = set()
        self._images: dict[str, list[str]] | None = None
        self._lock = threading.Lock()
        self._recall()

    def _recall(self) -> None:
        manifest = self.out / MANIFEST_NAME
        if is_present(manifest):
            earlier = CoatManifest.load(manifest)
            self._owned |= set(earlier.files)
            self._sources |= {entry.source_sha256: entry.output for entry in earlier.entries}
            self._made_with = (earlier.coater, earlier.key)
            self._written |= {entry.output for entry in earlier.entries}
            if self._same_work(earlier.coater, earlier.config, earlier.key):
                self._known |= {entry.source: entry for entry in earlier.entries}
        if is_present(self.out / JOURNAL_NAME):
            self._recall_journal()

    def _same_work(self, coater: str, config: CoatConfig, key: str) -> bool:
        # share, seed and layout decide which images are coated and where they go, not how
        same = (coater, config.strength, key)
        return same == (self.coater, self.config.strength, self.key)

    def _recall_journal(self) -> None:
        """Take over what a stopped run wrote, except for an incomplete line."""
        name = JOURNAL_NAME
        data = read_bytes(
            self.out / name, error=DatasetError, max_bytes=MAX_BYTES, name=name, advice=START_OVER
        )
        first, *lines = data.split(b"\n")
        header = _parsed(first, _Header, name)
        self._owned |= set(header.outputs)
        self._made_with = (header.coater, header.key)
        same = self._same_work(header.coater, settings_of(header.config, name), header.key)
        for line in lines:
            if line.startswith(_MORE):
                with suppress(DatasetError):
                    self._owned |= set(_parsed(line, _More, name).outputs)
            else:
                with suppress(DatasetError):
                    entry = _parsed(line, CoatEntry, name)
                    self._sources[entry.source_sha256] = entry.output
                    self._written.add(entry.output)
                    if same:
                        self._known[entry.source] = entry
        # a run that left a journal was killed and may have left temporary files too
        for leftover in self.out.rglob(".part-*"):
            with suppress(OSError):  # only tidiness
                leftover.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> DatasetError:
        return DatasetError(
            f"The output folder {self.out} can't be written: {error.strerror}. Check its "
            "permissions and the free space, or choose another folder."
        )

    @property
    def recalled(self) -> tuple[CoatEntry, ...]:
        """All entries of earlier runs with the same coater, strength and key."""
        return tuple(self._known.values())

    @property
    def written(self) -> frozenset[str]:
        """Names of the images that earlier runs wrote, with any coater, strength and key."""
        return frozenset(self._written)

    def known(self, source: str) -> CoatEntry | None:
        """The entry of this run, or of an earlier one with the same coater, strength and key.

        Parameters
        ----------
        source : str
            Name of the source.

        Returns
        -------
        CoatEntry | None
            The entry, if there is one.
        """
        return self.entries.get(source) or self._known.get(source)

    def suits(self, sources: Iterable[str]) -> bool:
        """Whether an earlier run had some of the same images, and the same coater and key.

        Parameters
        ----------
        sources : Iterable[str]
            SHA-256 of images; read until one is known.

        Returns
        -------
        bool
            True also if there was no earlier run.
        """
        if not self._sources:
            return True
        same = self._made_with == (self.coater, self.key)
        return same and any(source in self._sources for source in sources)

    def refuse_other_images(self, sources: Iterable[str]) -> None:
        """Refuse a folder in which an earlier run coated other images, before they are replaced.

        Parameters
        ----------
        sources : Iterable[str]
            SHA-256 of every image of this run.

        Raises
        ------
        DatasetError
            An earlier run wrote images, and this run has none of them.
        """
        if not self._sources.keys().isdisjoint(sources):
            return
        names = self._sources.values()
        if (here := next((one for one in names if is_present(self.out / one)), None)) is not None:
            raise DatasetError(
                f"{self.out} has coated copies of other images, such as {here!r}, and none of the "
                "images given now. They were not overwritten; choose another folder."
            )

    def refuse_other_key(self) -> None:
        """Refuse a folder that was coated with the same coater and another key.

        Raises
        ------
        DatasetError
            The copies may be those of another recipient, and would be replaced.
        """
        coater, key = self._made_with
        if self._sources and coater == self.coater and key != self.key:
            raise other_key_error(self.out)

    def begin(self, outputs: Iterable[str], kept: Iterable[CoatEntry]) -> None:
        """Start the journal of a run.

        Parameters
        ----------
        outputs : Iterable[str]
            Names of all files that the run will write or keep.
        kept : Iterable[CoatEntry]
            Entries of earlier runs that stay valid.

        Raises
        ------
        DatasetError
            The folder can't be written, or one of the files exists and no earlier run wrote it.
        """
        self._plan(set(outputs))
        self.entries = {entry.source: entry for entry in kept}
        header = _Header(
            coater=self.coater,
            config=self.config.to_dict(),
            key=self.key,
            outputs=sorted(self._owned),
        )
        lines = [header, *self.entries.values()]
        try:
            with atomic(self.out / JOURNAL_NAME) as temporary:
                temporary.write_text("".join(map(_line, lines)), encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from error

    def _plan(self, planned: set[str]) -> None:
        """Take files as those of this run; raises :class:`DatasetError` if they are not."""
        foreign = sorted(name for name in planned - self._owned if is_present(self.out / name))
        if foreign:
            raise DatasetError(
                f"The output folder has files that no earlier run wrote, such as {foreign[0]!r}; "
                "expected an empty folder or the folder of an earlier run. Choose another folder."
            )
        if self._images is None:
            self._images = {}
            self._index(self._owned)
        self._refuse_other_formats(planned)
        self._index(planned - self._owned)
        self._owned |= planned

    def _index(self, names: Iterable[str]) -> None:
        """Note images by their stems, so that one more costs the same however many there are."""
        assert self._images is not None
        for name in names:
            if (stem := _stem(name)) is not None:
                self._images.setdefault(stem, []).append(name)

    def extend(self, outputs: Iterable[str]) -> None:
        """Add files to a run that has begun, before they are written.

        Parameters
        ----------
        outputs : Iterable[str]
            Names of further files.

        Raises
        ------
        DatasetError
            As in :meth:`begin`.
        """
        if planned := set(outputs) - self._owned:
            self._plan(planned)
            with self._lock:
                self._append(_More(sorted(planned)))

    def _refuse_other_formats(self, planned: set[str]) -> None:
        """Raise if an image of an earlier run would stay beside the same image in a new format."""
        images = self._images or {}
        stems = {_stem(name) for name in planned} - {None}
        same = {name for stem in stems for name in images.get(stem or "", ())} - planned
        both = sorted(name for name in same if is_present(self.out / name))
        if both:
            raise DatasetError(
                f"The output folder has {both[0]!r} from an earlier run with another file format, "
                "and this run would write the same image beside it. Choose another folder."
            )

    def add(self, entry: CoatEntry) -> None:
        """Record a written image. Safe to call from several threads.

        Parameters
        ----------
        entry : CoatEntry
            The image.

        Raises
        ------
        DatasetError
            The folder can't be written.
        """
        with self._lock:
            self._append(entry)
            self.entries[entry.source] = entry

    def _append(self, values: Struct) -> None:
        """Write a further line."""
        try:
            with (self.out / JOURNAL_NAME).open("a", encoding="utf-8") as stream:
                stream.write(_line(values))
        except OSError as error:
            raise self._unwritable(error) from error

    def finish(
        self, order: Iterable[str], failures: Iterable[CoatFailure], *, complete: bool
    ) -> CoatManifest:
        """Turn the journal into the manifest.

        Parameters
        ----------
        order : Iterable[str]
            Source names in order.
        failures : Iterable[CoatFailure]
            The skipped images.
        complete : bool
            Whether the run reached every image.

        Returns
        -------
        CoatManifest
            The manifest, also written to the folder.

        Raises
        ------
        DatasetError
            The folder can't be written; the journal is kept.
        """
        entries = tuple(self.entries[name] for name in order if name in self.entries)
        files = tuple(sorted(name for name in self._owned if is_present(self.out / name)))
        manifest = CoatManifest(
            self.coater, self.config, entries, tuple(failures), files, complete, self.key
        )
        try:
            manifest.save(self.out / MANIFEST_NAME)
            (self.out / JOURNAL_NAME).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return manifest


def other_key_error(out: object) -> DatasetError:
    """What to say of a place with copies of the same coater and another key.

    Parameters
    ----------
    out : object
        The place, for the message.
    """
    return DatasetError(
        f"{out} was coated with another key, perhaps for another recipient. Its copies were not "
        "overwritten; choose another folder."
    )


def _stem(name: str) -> str | None:
    """The name of an image without its suffix, which captions share; None for other files."""
    stem, dot, suffix = name.rpartition(".")
    return stem.casefold() if f"{dot}{suffix}".lower() in _IMAGE_SUFFIXES else None


def _line(values: Struct) -> str:
    return json.dumps(to_plain(values), allow_nan=False) + "\n"


def _parsed(line: bytes, kind: type[T], name: str) -> T:
    """Parse a line of the journal; raises :class:`DatasetError`."""
    return parse_as(line, kind, name=name, error=DatasetError, advice=START_OVER)
