"""Records of a run from place to place: parts during the run, a manifest at its end.

Object stores can't append to a file, so each part is a small file of its own, with a line for each
image that is finished. All parts together are the journal.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from siren_ext.coating.journal import other_key_error
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
from siren_ext.schema import parse_as, to_plain

FOLDER = ".siren_records"
PART = 64
"""Images for each part; fewer in the last one."""


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One finished image.

    Attributes
    ----------
    work : str
        Coater, strength, format, quality and key of the run.
    stamp : str
        The source's :attr:`~siren_ext.scale.places.Found.stamp`.
    entry : CoatEntry
        As in the manifest.
    """

    work: str
    stamp: str
    entry: CoatEntry


def work_of(coater: str, config: CoatConfig, key: str, *more: str) -> str:
    """What decides how an image is coated, as one text.

    Parameters
    ----------
    coater : str
        Fingerprint of the coater.
    config : CoatConfig
        The settings.
    key : str
        Fingerprint of the key, "" without one.
    more : str
        Further settings.
    """
    settings = config.to_dict()
    made = [settings.get(name) for name in ("strength", "format", "quality")]
    return json.dumps([coater, *made, key, *more])


def refuse_other_key(out: Place, work: str, earlier: Iterable[str]) -> None:
    """Refuse a place that was coated with the same coater and another key.

    Parameters
    ----------
    out : Place
        The output place.
    work : str
        Of this run, see :func:`work_of`.
    earlier : Iterable[str]
        Those that are recorded there.

    Raises
    ------
    DatasetError
        The copies may be those of another recipient, and would be replaced.
    """
    coater, *_, key = json.loads(work)[:5]
    for one in set(earlier):
        with suppress(ValueError, TypeError):  # of another version, or damaged
            before, *_, other = json.loads(one)[:5]
            if before == coater and other != key:
                raise other_key_error(out.url)


class StoreRecords:
    """What this and earlier runs did.

    Parameters
    ----------
    out : Place
        The output place.
    there : dict[str, Found]
        Its files.
    coater : str
        Fingerprint of the coater.
    config : CoatConfig
        The settings.
    key : str
        Fingerprint of the key, "" without one.

    Raises
    ------
    DatasetError
        The place has files but no records, they are damaged, or it was coated with another key.
    """

    def __init__(
        self, out: Place, there: dict[str, Found], coater: str, config: CoatConfig, key: str
    ) -> None:
        self._out, self._coater, self._config, self._key = out, coater, config, key
        self._work = work_of(coater, config, key)
        self._parts = sorted(name for name in there if name.startswith(f"{FOLDER}/"))
        if there and not self._parts:
            raise DatasetError(
                f"{out.url} has files that no earlier run wrote, such as {min(there)!r}; expected "
                "an empty place or the place of an earlier run. Choose another place."
            )
        self._lines: dict[str, Line] = {}
        self._pending: list[Line] = []
        for part in self._parts:
            self._recall(part, there[part].size)
        refuse_other_key(out, self._work, (line.work for line in self._lines.values()))
        last = self._parts[-1].rpartition("/")[2] if self._parts else "0"
        self._number = int(last.partition(".")[0]) if last.partition(".")[0].isdigit() else 0

    def _recall(self, part: str, size: int) -> None:
        if size > MAX_BYTES:
            raise DatasetError(f"{part} has {size:,} bytes; expected at most {MAX_BYTES:,}.")
        for text in self._out.read(part).split(b"\n"):
            with suppress(DatasetError):  # the part was not written to its end
                line = parse_as(text, Line, name=part, error=DatasetError, advice=START_OVER)
                self._lines[line.entry.source] = line

    def finished(self, source: str, output: str, stamp: str, there: dict[str, Found]) -> bool:
        """Whether an image is done.

        Parameters
        ----------
        source, output : str
            Its names.
        stamp : str
            Of its source.
        there : dict[str, Found]
            Files of the output place.
        """
        line = self._lines.get(source)
        return (
            line is not None
            and (line.work, line.stamp, line.entry.output) == (self._work, stamp, output)
            and output in there
        )

    def add(self, entry: CoatEntry, stamp: str) -> None:
        """Record a written image; every so often a part is written.

        Parameters
        ----------
        entry : CoatEntry
            What was done.
        stamp : str
            Of its source.
        """
        line = Line(self._work, stamp, entry)
        self._lines[entry.source] = line
        self._pending.append(line)
        if len(self._pending) >= PART:
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet; raises :class:`DatasetError` if that is not possible."""
        if self._pending:
            self._write(self._pending)
            self._pending = []

    def _write(self, lines: Iterable[Line]) -> None:
        self._number += 1
        name = f"{FOLDER}/{self._number:08d}.jsonl"
        text = "".join(json.dumps(to_plain(line), allow_nan=False) + "\n" for line in lines)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "part")
            path.write_text(text, encoding="utf-8")
            self._out.send(path, name)
        self._parts.append(name)

    def finish(
        self, order: Iterable[str], failures: dict[str, str], *, complete: bool
    ) -> CoatManifest:
        """Write the manifest, and join the parts to one.

        Parameters
        ----------
        order : Iterable[str]
            Sources in order.
        failures : dict[str, str]
            Why images were not written, by source.
        complete : bool
            Whether the run reached every image.

        Returns
        -------
        CoatManifest
            What was done, also in the place.
        """
        self.flush()
        lines = [self._lines[name] for name in order if name in self._lines]
        lines = [line for line in lines if line.work == self._work]
        if complete and len(self._parts) > 1:
            before = list(self._parts)
            self._write(lines)
            for part in before:
                self._out.delete(part)
        entries = tuple(line.entry for line in lines)
        lost = tuple(CoatFailure(name, why) for name, why in failures.items())
        manifest = CoatManifest(self._coater, self._config, entries, lost, (), complete, self._key)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, MANIFEST_NAME)
            manifest.save(path)
            self._out.send(path, MANIFEST_NAME)
        return manifest
