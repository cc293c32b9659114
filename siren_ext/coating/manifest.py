"""The record of a coating run: what became of every image, kept so that a run can go on.

While a run lasts, each finished image is one line of a journal, so that a kill loses only what was
in the air; at its end the journal becomes the manifest. Both hold names relative to their folders,
hashes, scores and public settings, but no key and no path of the machine. The manifest tells which
images are coated: keep it, but leave it out of what is published.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct

from siren_ext.config import Config
from siren_ext.documents import parse_json, read_bytes
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.files import atomic, write_json
from siren_ext.formats import read_format
from siren_ext.schema import convert, to_plain

MANIFEST_NAME = "siren_manifest.json"
JOURNAL_NAME = ".siren_journal.jsonl"
MAX_BYTES = 512 << 20  # a million images
_AFRESH = "To coat from the start, choose an empty output folder."

T = TypeVar("T", bound=Struct)
_Side = Annotated[int, Meta(ge=1)]


@dataclasses.dataclass(frozen=True)
class CoatConfig(Config):
    """How a folder is coated.

    Attributes
    ----------
    strength : float
        factor on the coater's residual; 1 is as trained.
    share : float
        part of the images that is coated: exactly round(share * n) of the readable ones.
    seed : int
        of the permutation that chooses them when ``share`` is below 1.
    layout : str
        ``plain`` keeps the subfolders; ``kohya`` writes ``N_words`` folders and a
        dataset.toml.
    """

    strength: Annotated[float, Meta(ge=0, le=10)] = 1.0
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    layout: Literal["plain", "kohya"] = "plain"


class CoatEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One written image.

    Attributes
    ----------
    source, output : str
        names relative to the data folder and to the output folder.
    source_sha256, output_sha256 : str
        of the file bytes.
    coated : bool
        False for an image that was copied without coating.
    psnr_db : float | None
        of the written 8-bit pixels against the source; None when they are equal.
    clean_score : float
        the coater's score of the source.
    coated_score : float | None
        its score of the written image; None when it is not coated.
    size : tuple[int, int]
        width and height in pixels.
    notes : tuple[str, ...]
        what could not be kept as it was.
    """

    source: str
    output: str
    source_sha256: str
    output_sha256: str
    coated: bool
    psnr_db: float | None
    clean_score: float
    coated_score: float | None
    size: tuple[_Side, _Side]
    notes: tuple[str, ...] = ()


class CoatFailure(Struct, frozen=True, forbid_unknown_fields=True):
    """One image that was not written, and why."""

    source: str
    error: str


class _Stored(Struct, forbid_unknown_fields=True, kw_only=True):
    """The manifest's file."""

    format: Literal["siren_ext.coat_manifest"] = "siren_ext.coat_manifest"
    version: Literal[1] = 1
    coater: str
    config: dict[str, Any]
    entries: tuple[CoatEntry, ...]
    failures: tuple[CoatFailure, ...]
    files: tuple[str, ...]
    complete: bool
    key: str = ""


class _Header(Struct, forbid_unknown_fields=True, kw_only=True):
    """The first line of a journal; the others are entries."""

    coater: str
    config: dict[str, Any]
    key: str = ""
    outputs: list[str]


@dataclasses.dataclass(frozen=True)
class CoatManifest:
    """What a coating run did.

    Attributes
    ----------
    coater : str
        fingerprint of the coater.
    config : CoatConfig
        the settings.
    entries : tuple[CoatEntry, ...]
        the written images, in the order of the data.
    failures : tuple[CoatFailure, ...]
        the skipped ones, by name.
    files : tuple[str, ...]
        names of all files that this and earlier runs own in the output folder.
    complete : bool
        whether the run reached every image; False after a stop.
    key : str
        salted fingerprint of the key whose message the images carry, "" without one. Neither
        this file nor the journal ever holds the message.
    """

    coater: str
    config: CoatConfig
    entries: tuple[CoatEntry, ...]
    failures: tuple[CoatFailure, ...]
    files: tuple[str, ...] = ()
    complete: bool = True
    key: str = ""

    def save(self, path: Path) -> None:
        """Write as JSON, atomically."""
        stored = _Stored(
            coater=self.coater,
            config=self.config.to_dict(),
            entries=self.entries,
            failures=self.failures,
            files=self.files,
            complete=self.complete,
            key=self.key,
        )
        write_json(path, to_plain(stored))

    @classmethod
    def load(cls, path: Path) -> CoatManifest:
        """Read the JSON file; raises :class:`DatasetError` when it is missing or malformed."""
        name = Path(path).name
        kept = read_format(
            path, _Stored, error=DatasetError, name=name, max_bytes=MAX_BYTES, advice=_AFRESH
        )
        return cls(
            kept.coater,
            _settings(kept.config, name),
            kept.entries,
            kept.failures,
            kept.files,
            kept.complete,
            kept.key,
        )


def _settings(values: dict[str, Any], name: str) -> CoatConfig:
    try:
        return CoatConfig.from_dict(values)
    except ConfigError as error:
        raise DatasetError(f"{name}: {error} {_AFRESH}") from error


class CoatJournal:
    """What earlier and this run wrote into one folder.

    Parameters
    ----------
    out : Path
        the output folder.
    coater : str
        fingerprint of the coater.
    config : CoatConfig
        the settings.
    key : str
        fingerprint of the key, "" without one.
    """

    def __init__(self, out: Path, coater: str, config: CoatConfig, key: str = "") -> None:
        self.out, self.coater, self.config, self.key = out, coater, config, key
        self.entries: dict[str, CoatEntry] = {}
        self._known: dict[str, CoatEntry] = {}
        self._owned: set[str] = set()
        self._lock = threading.Lock()
        self._recall()

    def _recall(self) -> None:
        manifest = self.out / MANIFEST_NAME
        if manifest.exists():
            earlier = CoatManifest.load(manifest)
            self._owned |= set(earlier.files)
            if self._same_work(earlier.coater, earlier.config, earlier.key):
                self._known |= {entry.source: entry for entry in earlier.entries}
        if (self.out / JOURNAL_NAME).exists():
            self._recall_journal()

    def _same_work(self, coater: str, config: CoatConfig, key: str) -> bool:
        # Share, seed and layout decide which images are coated and where they go, not how.
        same = (coater, config.strength, key)
        return same == (self.coater, self.config.strength, self.key)

    def _recall_journal(self) -> None:
        """Take over what a stopped run wrote; a line that was cut off is ignored."""
        name = JOURNAL_NAME
        data = read_bytes(
            self.out / name, error=DatasetError, max_bytes=MAX_BYTES, name=name, advice=_AFRESH
        )
        first, *lines = data.split(b"\n")
        header = _parsed(first, _Header, name)
        self._owned |= set(header.outputs)
        if self._same_work(header.coater, _settings(header.config, name), header.key):
            for line in lines:
                try:
                    entry = _parsed(line, CoatEntry, name)
                except DatasetError:
                    continue
                self._known[entry.source] = entry
        # A killed run may leave temporary files; only a run that left a journal was killed.
        for leftover in self.out.rglob(".part-*"):
            leftover.unlink(missing_ok=True)

    def known(self, source: str) -> CoatEntry | None:
        """What an earlier run with this coater and strength recorded for a source."""
        return self._known.get(source)

    def begin(self, outputs: Iterable[str], kept: Iterable[CoatEntry]) -> None:
        """Open the journal for a run that will write ``outputs`` and keeps earlier entries.

        Raises
        ------
        DatasetError
            a file is in the way that no earlier run wrote, or nothing can be written.
        """
        planned = set(outputs)
        foreign = sorted(name for name in planned - self._owned if (self.out / name).exists())
        if foreign:
            raise DatasetError(
                f"The output folder already holds files that were not written here, such as "
                f"{foreign[0]!r}; expected an empty folder or one of an earlier run. Choose "
                "another."
            )
        self._owned |= planned
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
            raise DatasetError(f"The output folder can't be written: {error.strerror}.") from error

    def add(self, entry: CoatEntry) -> None:
        """Record a written image; safe to call from several threads."""
        with self._lock:
            try:
                with (self.out / JOURNAL_NAME).open("a", encoding="utf-8") as stream:
                    stream.write(_line(entry))
            except OSError as error:
                raise DatasetError(
                    f"The output folder can't be written: {error.strerror}."
                ) from error
            self.entries[entry.source] = entry

    def finish(
        self, order: Iterable[str], failures: Iterable[CoatFailure], *, complete: bool
    ) -> CoatManifest:
        """Turn the journal into the manifest; ``order`` are the source names in order.

        Raises
        ------
        DatasetError
            the folder can't be written; the journal then stays.
        """
        entries = tuple(self.entries[name] for name in order if name in self.entries)
        files = tuple(sorted(name for name in self._owned if (self.out / name).exists()))
        manifest = CoatManifest(
            self.coater, self.config, entries, tuple(failures), files, complete, self.key
        )
        try:
            manifest.save(self.out / MANIFEST_NAME)
            (self.out / JOURNAL_NAME).unlink(missing_ok=True)
        except OSError as error:
            raise DatasetError(f"The output folder can't be written: {error.strerror}.") from error
        return manifest


def _line(values: Struct) -> str:
    return json.dumps(to_plain(values), allow_nan=False) + "\n"


def _parsed(line: bytes, kind: type[T], name: str) -> T:
    """The header or entry in a line of the journal; raises :class:`DatasetError`."""
    values = parse_json(line, name=name, error=DatasetError, advice=_AFRESH)
    return convert(values, kind, name=name, error=DatasetError, advice=_AFRESH)
