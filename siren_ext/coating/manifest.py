"""The manifest of a coating run: its settings, and what was done with every image.

It contains names relative to their folders, hashes, scores and public settings, but no key and no
path of the machine. It lists which images are coated: keep it, but don't publish it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from siren_ext.config import Config
from siren_ext.errors import ConfigError, DatasetError
from siren_ext.files import write_json
from siren_ext.formats import Sha256, read_format
from siren_ext.schema import to_plain

MANIFEST_NAME = "siren_manifest.json"
MAX_BYTES = 512 << 20
"""Size limit of a manifest or journal; enough for a million images."""
START_OVER = "To start over, choose an empty output folder."
"""Advice for damaged records."""

_Side = Annotated[int, Meta(ge=1)]


@dataclasses.dataclass(frozen=True)
class CoatConfig(Config):
    """How a folder is coated.

    Attributes
    ----------
    strength : float
        Factor on the coater's residual, 0 to 10; 1 is what the coater was trained with.
    share : float
        Share of the images to coat, 0 to 1: exactly round(share * n) of the n readable ones.
    seed : int
        Seed of the choice of images if ``share`` is below 1.
    layout : str
        ``plain`` (or ``same``) keeps the subfolders; ``kohya``, ``imagefolder``, ``onetrainer``,
        ``ai-toolkit`` and ``musubi`` are what these training programs read, see
        :mod:`siren_ext.coating.layouts`.
    format : str
        Files are written as ``png`` (if not set), ``jpeg`` or ``webp``; ``keep`` writes JPEG, WebP
        and PNG images in their own format and others as PNG.
    quality : int
        Quality of JPEG and WebP files, 1 to 100; 95 if not set.
    scores : bool
        False leaves out the coater's scores before and after, which take most of the time with
        large networks. The files are the same.
    """

    strength: Annotated[float, Meta(ge=0, le=10)] = 1.0
    share: Annotated[float, Meta(ge=0, le=1)] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    layout: Literal[
        "plain", "same", "kohya", "imagefolder", "onetrainer", "ai-toolkit", "musubi"
    ] = "plain"
    # not set by default, so that records of earlier versions are written as they were
    format: Literal["png", "keep", "jpeg", "webp"] | UnsetType = UNSET
    quality: Annotated[int, Meta(ge=1, le=100)] | UnsetType = UNSET
    scores: bool | UnsetType = UNSET


class Compression(Struct, frozen=True, forbid_unknown_fields=True):
    """What compression did to one written image.

    Attributes
    ----------
    quality : int
        Quality of the JPEG or WebP file, 1 to 100.
    score : float | None
        The coater's score of the coated image before it was compressed; None if it is not coated,
        or nothing was scored.
    kept : float | None
        Share of the coating's effect that is left in the file, about 0 to 1. The effect is the fall
        of the score, or for a keyed coater the evidence for the key's message. None if the image is
        not coated, was not scored, or had no effect before compression either.
    """

    quality: Annotated[int, Meta(ge=1, le=100)]
    score: float | None
    kept: float | None


class CoatEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """One written image.

    Attributes
    ----------
    source, output : str
        Names relative to the data folder and to the output folder.
    source_sha256, output_sha256 : str
        Hashes of the files.
    coated : bool
        False for an image that was copied without coating.
    psnr_db : float | None
        PSNR of the written 8-bit pixels against the source; None if they are equal.
    clean_score : float | None
        The coater's score of the source; None if nothing was scored.
    coated_score : float | None
        Its score of the written file, after compression; None if it is not coated, or nothing was
        scored.
    size : tuple[int, int]
        Width and height in pixels.
    notes : tuple[str, ...]
        What could not be kept unchanged.
    compression : Compression
        For lossy files only.
    credentials : str
        SHA-256 of the certificate that signed the file's content credentials; only if it has some
        of this program.
    """

    source: str
    output: str
    source_sha256: str
    output_sha256: str
    coated: bool
    psnr_db: float | None
    clean_score: float | None
    coated_score: float | None
    size: tuple[_Side, _Side]
    notes: tuple[str, ...] = ()
    compression: Compression | UnsetType = UNSET
    credentials: Sha256 | UnsetType = UNSET

    @property
    def quality(self) -> int | None:
        """Quality of a lossy file; None for others."""
        return None if isinstance(self.compression, UnsetType) else self.compression.quality


class CoatFailure(Struct, frozen=True, forbid_unknown_fields=True):
    """One image that was not written.

    Attributes
    ----------
    source : str
        Name relative to the data folder.
    error : str
        Why.
    """

    source: str
    error: str


class _Stored(Struct, forbid_unknown_fields=True, kw_only=True):
    """The manifest as stored."""

    format: Literal["siren_ext.coat_manifest"] = "siren_ext.coat_manifest"
    version: Literal[1] = 1
    coater: str
    config: dict[str, Any]
    entries: tuple[CoatEntry, ...]
    failures: tuple[CoatFailure, ...]
    files: tuple[str, ...]
    complete: bool
    key: str = ""


@dataclasses.dataclass(frozen=True)
class CoatManifest:
    """What a coating run did.

    Attributes
    ----------
    coater : str
        Fingerprint of the coater.
    config : CoatConfig
        The settings.
    entries : tuple[CoatEntry, ...]
        The written images, in the order of the data.
    failures : tuple[CoatFailure, ...]
        The skipped images.
    files : tuple[str, ...]
        Names of all files that this and earlier runs wrote into the output folder.
    complete : bool
        Whether the run reached every image; False after a stop.
    key : str
        Salted fingerprint of the key whose message the images carry, "" without one. The message
        itself is never stored. For twins a label of their secret follows.
    """

    coater: str
    config: CoatConfig
    entries: tuple[CoatEntry, ...]
    failures: tuple[CoatFailure, ...]
    files: tuple[str, ...] = ()
    complete: bool = True
    key: str = ""

    def notes(self) -> dict[str, list[str]]:
        """What could not be kept unchanged: for each note, the names of its sources."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            for note in entry.notes:
                found.setdefault(note, []).append(entry.source)
        return found

    def save(self, path: Path) -> None:
        """Write the manifest as JSON, atomically.

        Parameters
        ----------
        path : Path
            The file.
        """
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
        """Read a manifest.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        CoatManifest
            The manifest.

        Raises
        ------
        DatasetError
            The file is missing or damaged.
        """
        name = Path(path).name
        kept = read_format(
            path, _Stored, error=DatasetError, name=name, max_bytes=MAX_BYTES, advice=START_OVER
        )
        config = settings_of(kept.config, name)
        for number, entry in enumerate(kept.entries):
            if entry.clean_score is None and config.scores is not False:
                raise DatasetError(
                    f"{name}: entries[{number}].clean_score is None; expected a number. "
                    f"{START_OVER}"
                )
        return cls(
            kept.coater,
            config,
            kept.entries,
            kept.failures,
            kept.files,
            kept.complete,
            kept.key,
        )


def settings_of(values: dict[str, Any], name: str) -> CoatConfig:
    """Check stored settings.

    Parameters
    ----------
    values : dict[str, Any]
        Plain values.
    name : str
        Name of their file, for messages.

    Returns
    -------
    CoatConfig
        The settings.

    Raises
    ------
    DatasetError
        A value is not possible.
    """
    try:
        return CoatConfig.from_dict(values)
    except ConfigError as error:
        raise DatasetError(f"{name}: {error} {START_OVER}") from error
