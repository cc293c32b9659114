"""Records of coated shards: a file for each finished one, and a manifest at the end.

Before anything is written, the names of all new shards are recorded. So a later run knows which
files are of this program, also after a kill, and replaces no others.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from siren_ext.coating.manifest import (
    MANIFEST_NAME,
    MAX_BYTES,
    START_OVER,
    CoatConfig,
    CoatEntry,
    CoatFailure,
    CoatManifest,
)
from siren_ext.errors import DatasetError
from siren_ext.scale.places import Found, Place
from siren_ext.scale.shard_worker import ShardDone
from siren_ext.scale.store_records import FOLDER, refuse_other_key, work_of
from siren_ext.schema import parse_as, to_plain

T = TypeVar("T", bound=Struct)
BEGUN = f"{FOLDER}/shards.json"


class _Begun(Struct, forbid_unknown_fields=True):
    """The shards that this and earlier runs write."""

    outputs: list[str]


class ShardLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One finished shard.

    Attributes
    ----------
    work : str
        Coater, settings and key, see :func:`siren_ext.scale.store_records.work_of`.
    stamp : str
        The source's :attr:`~siren_ext.scale.places.Found.stamp`.
    size : int
        Bytes of the new shard.
    entries, failures, copied : tuple
        As in :class:`~siren_ext.scale.shard_worker.ShardDone`.
    """

    work: str
    stamp: str
    size: int
    entries: tuple[CoatEntry, ...]
    failures: tuple[tuple[str, str], ...]
    copied: tuple[str, ...] = ()


class ShardRecords:
    """What this and earlier runs did.

    Parameters
    ----------
    out : Place
        The output place.
    shards : dict[str, Found]
        The source's shards.
    coater : str
        Fingerprint of the coater.
    config : CoatConfig
        The settings.
    key : str
        Fingerprint of the key, "" without one.
    column : str
        The column of images that was asked for.

    Raises
    ------
    DatasetError
        The place has a file that would be replaced and that no earlier run wrote, its records are
        damaged, or it was coated with another key.
    """

    def __init__(
        self,
        out: Place,
        shards: dict[str, Found],
        coater: str,
        config: CoatConfig,
        key: str,
        column: str = "",
    ) -> None:
        self._out, self._shards = out, shards
        self._coater, self._config, self._key = coater, config, key
        self._work = work_of(coater, config, key, column)
        there = out.files()
        begun = self._read(BEGUN, _Begun).outputs if BEGUN in there else []
        taken = {*shards, *([] if BEGUN in there else [MANIFEST_NAME])}
        if foreign := sorted((taken & there.keys()) - set(begun)):
            raise DatasetError(
                f"{out.url} has {foreign[0]!r}, which no earlier run over shards wrote, so it was "
                "not replaced. Choose another place."
            )
        self._owned = sorted({*begun, *shards})
        self._new = set(begun) != set(self._owned)
        self._lines: dict[str, ShardLine] = {}
        for name, found in shards.items():
            record = _record(name)
            if name in there and record in there:
                line = self._read(record, ShardLine)
                refuse_other_key(out, self._work, [line.work])
                same = (line.work, line.stamp, line.size)
                if same == (self._work, found.stamp, there[name].size):
                    self._lines[name] = line

    def _read(self, name: str, kind: type[T]) -> T:
        return parse_as(
            self._out.read(name),
            kind,
            name=name,
            error=DatasetError,
            advice=START_OVER,
            max_bytes=MAX_BYTES,
        )

    @property
    def left(self) -> list[str]:
        """The shards that are not done, in order."""
        return [name for name in self._shards if name not in self._lines]

    @property
    def images(self) -> int:
        """Images in the shards that are done."""
        return sum(len(line.entries) for line in self._lines.values())

    @property
    def copied(self) -> list[str]:
        """Pictures that were copied, because they are about an image."""
        return [name for line in self._lines.values() for name in line.copied]

    def begin(self) -> None:
        """Record which files will be written; raises :class:`DatasetError` if it can't be."""
        if self._new:
            self._write(BEGUN, _Begun(self._owned))

    def add(self, name: str, done: ShardDone) -> None:
        """Record a written shard.

        Parameters
        ----------
        name : str
            Its name.
        done : ShardDone
            What was done.
        """
        stamp = self._shards[name].stamp
        line = ShardLine(self._work, stamp, done.size, done.entries, done.failures, done.copied)
        self._write(_record(name), line)
        self._lines[name] = line

    def _write(self, name: str, values: Struct) -> None:
        with self._out.writing(name) as path:
            path.write_text(json.dumps(to_plain(values), allow_nan=False), encoding="utf-8")

    def finish(self, failures: Sequence[tuple[str, str]], *, complete: bool) -> CoatManifest:
        """Write the manifest.

        Parameters
        ----------
        failures : Sequence[tuple[str, str]]
            Shards that were not written, and why.
        complete : bool
            Whether the run reached every shard.

        Returns
        -------
        CoatManifest
            What was done, also in the place.
        """
        lines = [self._lines[name] for name in self._shards if name in self._lines]
        entries = tuple(entry for line in lines for entry in line.entries)
        lost = [*failures, *(pair for line in lines for pair in line.failures)]
        manifest = CoatManifest(
            self._coater,
            self._config,
            entries,
            tuple(CoatFailure(*pair) for pair in lost),
            tuple(name for name in self._shards if name in self._lines),
            complete,
            self._key,
        )
        with tempfile.TemporaryDirectory(prefix="siren-") as folder:
            path = Path(folder, MANIFEST_NAME)
            manifest.save(path)
            with self._out.writing(MANIFEST_NAME) as target:
                target.write_bytes(path.read_bytes())
        return manifest


def _record(name: str) -> str:
    return f"{FOLDER}/{name}.json"
