"""Coats images twice: one copy to publish, and a twin to keep, chosen by a coin for every image.

A model that was trained on the published copies prefers them to their twins; a model that was not
can't know which side the coins chose (:mod:`siren_ext.stats.coins`). The twins and the record of
the coins are private. Whoever sees a twin can tell which side was published.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import UNSET, Meta, Struct

from siren_ext.coating.folder import coat_folder
from siren_ext.coating.manifest import MANIFEST_NAME, MAX_BYTES, CoatConfig, CoatManifest
from siren_ext.coating.outputs import refuse_overlap
from siren_ext.coating.twin_patterns import (
    CELLS,
    PATTERN_PSNR,
    SECRET_BYTES,
    TwinSide,
    refuse_other_twins,
)
from siren_ext.data.dataset import ImageSet
from siren_ext.data.lossy import QUALITY
from siren_ext.errors import DatasetError, EvidenceError
from siren_ext.files import is_file, is_present, sha256_file, sha256_if_any
from siren_ext.formats import Sha256, read_format
from siren_ext.keys.encrypted_file import write_private
from siren_ext.progress import NULL, Named, Progress
from siren_ext.schema import to_plain
from siren_ext.text import printable

if TYPE_CHECKING:
    from siren_ext.coater.coater import Coater
    from siren_ext.keys.coating_key import CoatingKey

RECORD_NAME = "siren_twins.json"
"""Name of the record in the folder of the twins."""
MAX_TWINS = 200_000
_UNTOUCHED = "Use the folder as 'siren-ext coat --twins' wrote it, without changes."
_Name = Annotated[str, Meta(min_length=1, max_length=4096)]


class Twin(Struct, frozen=True, forbid_unknown_fields=True):
    """An image of which both copies exist.

    Attributes
    ----------
    source : str
        Name of the original, from which pattern and coin follow.
    name : str
        Name of both copies in their folders.
    published, twin : str
        SHA-256 of both files.
    coin : int
        The side that was published, 0 or 1.
    """

    source: _Name
    name: _Name
    published: Sha256
    twin: Sha256
    coin: Annotated[int, Meta(ge=0, le=1)]


class _Stored(Struct, forbid_unknown_fields=True, kw_only=True):
    """The record's file."""

    format: Literal["siren_ext.twins"] = "siren_ext.twins"
    version: Literal[1] = 1
    coater: Annotated[str, Meta(max_length=200)]
    secret: Sha256
    cells: Annotated[int, Meta(ge=2, le=4096)]
    psnr: Annotated[float, Meta(ge=20, le=80)]
    images: Annotated[tuple[Twin, ...], Meta(max_length=MAX_TWINS)]


@dataclass(frozen=True)
class TwinsRecord:
    """The coins, and the files that they chose.

    Attributes
    ----------
    coater : str
        Fingerprint of the coater.
    secret : bytes
        32 random bytes from which patterns and coins follow.
    images : tuple[Twin, ...]
        The images, in the order of the data.
    cells, psnr : int, float
        Of the pattern, see :class:`~siren_ext.coating.twin_patterns.TwinSide`.
    """

    coater: str
    secret: bytes = field(repr=False)
    images: tuple[Twin, ...] = ()
    cells: int = CELLS
    psnr: float = PATTERN_PSNR

    def side(self, *, published: bool = True) -> TwinSide:
        """One of the two copies of every image.

        Parameters
        ----------
        published : bool
            Which of the two.
        """
        return TwinSide(self.secret, published, self.cells, self.psnr)

    def save(self, folder: Path) -> None:
        """Write the record, readable by this user only.

        Parameters
        ----------
        folder : Path
            The folder of the twins; must exist.

        Raises
        ------
        EvidenceError
            It can't be written.
        """
        stored = _Stored(
            coater=self.coater,
            secret=self.secret.hex(),
            cells=self.cells,
            psnr=self.psnr,
            images=self.images,
        )
        text = json.dumps(to_plain(stored), indent=2, ensure_ascii=False) + "\n"
        write_private(Path(folder) / RECORD_NAME, text.encode("utf-8"), replace=True)

    @classmethod
    def load(cls, folder: Path) -> TwinsRecord:
        """Read a record and check that its coins follow from its secret.

        Parameters
        ----------
        folder : Path
            The folder of the twins, or the record itself.

        Returns
        -------
        TwinsRecord
            The record.

        Raises
        ------
        EvidenceError
            It is missing or damaged, or a coin was changed.
        """
        path = record_path(folder)
        stored = read_format(
            path,
            _Stored,
            error=EvidenceError,
            name=path.name,
            max_bytes=MAX_BYTES,
            advice=_UNTOUCHED,
        )
        secret = bytes.fromhex(stored.secret)
        found = cls(stored.coater, secret, stored.images, stored.cells, stored.psnr)
        side = found.side()
        outside = [twin.name for twin in found.images if not _inside(twin.name)]
        if outside:
            raise EvidenceError(
                f"{path.name} names the file {printable(outside[0])!r}; expected a file inside "
                f"the folder. {_UNTOUCHED}"
            )
        wrong = [twin.name for twin in found.images if twin.coin != side.coin(twin.source)]
        if wrong:
            raise EvidenceError(
                f"{path.name}: the coin tosses of {len(wrong)} images, such as "
                f"{printable(wrong[0])!r}, are not the ones that its secret gives. {_UNTOUCHED}"
            )
        return found


def _inside(name: str) -> bool:
    """Whether a name stays inside its folder on every system."""
    place = PureWindowsPath(name)
    return not place.root and not place.drive and ".." not in place.parts


def record_path(folder: Path) -> Path:
    """Where the record of a folder of twins is.

    Parameters
    ----------
    folder : Path
        The folder, or the record itself.

    Returns
    -------
    Path
        The record's file; it may not exist.
    """
    folder = Path(folder)
    return folder if folder.name == RECORD_NAME else folder / RECORD_NAME


def coat_twins(
    data: ImageSet,
    coater: Coater,
    out: Path,
    twins: Path,
    config: CoatConfig | None = None,
    *,
    key: CoatingKey | None = None,
    cells: int = CELLS,
    psnr: float = PATTERN_PSNR,
    batch_size: int = 8,
    workers: int = 2,
    progress: Progress = NULL,
) -> tuple[CoatManifest, TwinsRecord]:
    """Write a coated copy of every image into one folder, and its twin into another.

    Both copies have the same coating, with the same message if the coater is keyed, and differ in
    the sign of a faint random pattern. A secret coin per image decides which is published. A call
    resumes an earlier one.

    Parameters
    ----------
    data, coater, config, key, batch_size, workers, progress
        As in :func:`~siren_ext.coating.folder.coat_folder`.
    out : Path
        Folder of the copies to publish.
    twins : Path
        Private folder of the twins and their record.
    cells, psnr : int, float
        Of a new record's patterns, see :class:`~siren_ext.coating.twin_patterns.TwinSide`.

    Returns
    -------
    tuple[CoatManifest, TwinsRecord]
        What was done for the published copies, and the coins.

    Raises
    ------
    DatasetError
        Folders overlap, or ``out`` was coated without these twins, from other images, or with
        another coater, key, strength or quality.
    EvidenceError
        The record is damaged or can't be written.
    SirenError
        As in :func:`~siren_ext.coating.folder.coat_folder`.
    """
    out, twins = Path(out), Path(twins)
    refuse_overlap(data.root, twins)
    refuse_overlap(out, twins)
    record = _begun(TwinsRecord(coater.fingerprint, b"", (), cells, psnr), out, twins)
    _refuse_other_copies(data, coater, out, config or CoatConfig(), record.side())
    write = partial(
        coat_folder, data, coater, config=config, key=key, batch_size=batch_size, workers=workers
    )
    published = write(out, side=record.side(), progress=progress)
    other = record.side(published=False)
    kept = write(twins, side=other, progress=Named(progress, "twins"))
    pairs = tuple(_pairs(record, published, kept))
    found = replace(record, coater=coater.fingerprint, images=pairs)
    found.save(twins)
    return published, found


def _begun(planned: TwinsRecord, out: Path, twins: Path) -> TwinsRecord:
    """The record of an earlier call, or a new one, written before any image."""
    if is_present(record_path(twins)):
        return TwinsRecord.load(twins)
    if is_present(out / MANIFEST_NAME):
        raise DatasetError(
            f"{out} has already been coated, but {twins} has no twins of it; expected the twins' "
            "folder of that run. Choose an empty output folder to coat the images with new twins."
        )
    try:
        twins.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(f"The folder {twins} can't be made: {error.strerror}.") from error
    made = replace(planned, secret=os.urandom(SECRET_BYTES))
    made.save(twins)
    return made


def _refuse_other_copies(
    data: ImageSet, coater: Coater, out: Path, config: CoatConfig, side: TwinSide
) -> None:
    """Refuse to replace copies, which may be published, by others with the same coins."""
    if not is_present(out / MANIFEST_NAME):
        return
    refuse_other_twins(out, side)
    before = CoatManifest.load(out / MANIFEST_NAME)
    made, asked = (
        (fingerprint, one.strength, QUALITY if one.quality is UNSET else one.quality)
        for fingerprint, one in ((before.coater, before.config), (coater.fingerprint, config))
    )
    if before.entries and made != asked:
        raise DatasetError(
            f"{out} was coated with another coater, strength or quality; expected the same ones "
            "as before, because copies that may be published must not change. Choose other "
            "folders for both twins."
        )
    sources = {entry.source: entry.source_sha256 for entry in before.entries}
    for item in data.items:
        known = sources.get(item.name)
        if known is not None and sha256_if_any(item.path) not in ("", known):
            raise DatasetError(
                f"{item.name} is not the same image that was coated into {out}; expected the "
                "unchanged image, because copies that may be published must not change. Coat "
                "changed images into other folders."
            )


def _pairs(record: TwinsRecord, published: CoatManifest, kept: CoatManifest) -> Iterator[Twin]:
    """The images of which both copies were written."""
    side = record.side()
    others = {entry.source: entry for entry in kept.entries if entry.coated}
    for entry in published.entries:
        other = others.get(entry.source)
        if entry.coated and other is not None:
            yield Twin(
                entry.source,
                entry.output,
                entry.output_sha256,
                other.output_sha256,
                side.coin(entry.source),
            )


def checked_twins(folder: Path) -> tuple[TwinsRecord, str]:
    """A complete record whose twins are all there, for a commitment.

    Parameters
    ----------
    folder : Path
        The folder of the twins.

    Returns
    -------
    tuple[TwinsRecord, str]
        The record, and the SHA-256 of its file.

    Raises
    ------
    EvidenceError
        It has no images, or a twin is missing or was changed.
    """
    record, path = TwinsRecord.load(folder), record_path(folder)
    if not record.images:
        raise EvidenceError(f"{path.name} has no images. Run 'siren-ext coat --twins' to its end.")
    for twin in record.images:
        file = path.parent / twin.name
        if not is_file(file) or sha256_file(file) != twin.twin:
            raise EvidenceError(
                f"The twin {printable(twin.name)!r} is missing or was changed. {_UNTOUCHED}"
            )
    return record, sha256_file(path)
