"""A pool of scores, the common input of tests, verdicts and reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.files import write_json
from siren_ext.formats import convert_format, read_format
from siren_ext.schema import to_plain
from siren_ext.scoring.appearance import LESS_MORE

MAX_IMAGES = 1_000_000
MAX_TEXT = 4096
MAX_FEATURES = 512
MAX_BYTES = 512 << 20
"""Size limit of a score file: 150,000 pictures with 48 features each."""
PREFERENCE = "preference"
"""``source["kind"]`` of sets that :mod:`siren_ext.preference.measure` made from a model's file."""
FIELD = "field"
"""The name in ``source`` of the mean learnt field (:mod:`siren_ext.preference.changes`)."""
TINT = "tint"
"""The name in ``source`` of the learnt tint (:mod:`siren_ext.preference.tint`)."""
BASE = "base"
"""The name in ``source`` of the base model's measurement (:mod:`siren_ext.preference.base`)."""
CENTRED = "centred"
"""The name in ``source`` of the uncoated pictures that :mod:`siren_ext.scoring.centre` used."""
TWINS = "twins"
"""``source["kind"]`` of sets that :mod:`siren_ext.preference.twins` made from a model's file."""

_AGAIN = "Score the images again with 'siren-ext score'."
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
_Hash = Annotated[
    str, Meta(pattern=r"\A([0-9a-f]{64})?\Z", description='64 hexadecimal digits, or ""')
]
_PHASH = re.compile(r"\A[0-9a-f]{64}\Z")
_Phash = Annotated[str, Meta(pattern=_PHASH.pattern, description="64 hexadecimal digits")]


class StoredImage(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One scored image of a score file."""

    name: _Text
    sha256: _Hash
    score: _Number
    features: Annotated[list[_Number], Meta(min_length=1, max_length=MAX_FEATURES)] | None = None
    looks: (
        Annotated[list[_Number], Meta(min_length=len(LESS_MORE), max_length=len(LESS_MORE))] | None
    ) = None
    control: Annotated[list[_Number], Meta(min_length=1, max_length=MAX_FEATURES)] | None = None
    phash: _Phash | None = None


class StoredFailure(Struct, forbid_unknown_fields=True):
    """One image without a score, and the reason."""

    name: _Text
    error: _Text


class StoredScores(Struct, forbid_unknown_fields=True, kw_only=True):
    """A score file, or a pool of scores within a report; see :class:`ScoreSet`."""

    format: Literal["siren_ext.scores"] = "siren_ext.scores"
    version: Literal[1] = 1
    coater: _Text
    source: dict[str, Any] = {}
    images: Annotated[list[StoredImage], Meta(min_length=1, max_length=MAX_IMAGES)]
    failures: Annotated[list[StoredFailure], Meta(max_length=MAX_IMAGES)] = []


@dataclass(frozen=True, eq=False)
class ScoreSet:
    """Scores of one pool of images, with what is needed to check and repeat them.

    Attributes
    ----------
    scores : array, shape (n,)
        float64, finite; small means coated.
    names : tuple[str, ...]
        n names, unique if they come from one folder.
    hashes : tuple[str, ...]
        n SHA-256 of the files' bytes; empty if there was no file.
    coater : str
        Fingerprint of the coater that scored the images.
    source : dict[str, Any]
        How the images were made, as plain JSON values: kind, prompts, seeds, settings.
    failures : tuple[tuple[str, str], ...]
        Name and reason of each image without a score.
    features : array, shape (n, k), or None
        float64, finite; evidence of a keyed coater for every bit of a message (see
        :mod:`siren_ext.stats.keyed`). None for other coaters. Features of *coated* images reveal
        the message, so keep such a file as secret as the key.
    looks : array, shape (n, 8), or None
        float64, finite; what the pictures look like (see :mod:`siren_ext.scoring.appearance`).
        None if it was not recorded.
    control : array, shape (n, k), or None
        float64, finite; features of copies of the pictures into which a known message was written
        (see :mod:`siren_ext.scoring.control`). None if there are no features, or they come from a
        version without controls.
    phashes : tuple[str, ...] or None
        n perceptual hashes, by which near copies are found (see :mod:`siren_ext.scoring.copies`).
        None if they were not recorded.

    Raises
    ------
    ScoreError
        If the parts do not fit together.
    """

    scores: NDArray[np.float64]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    coater: str
    source: dict[str, Any] = field(default_factory=dict)
    failures: tuple[tuple[str, str], ...] = ()
    features: NDArray[np.float64] | None = None
    looks: NDArray[np.float64] | None = None
    control: NDArray[np.float64] | None = None
    phashes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        values = np.array(self.scores, dtype=np.float64)
        if values.ndim != 1 or not len(values) == len(self.names) == len(self.hashes):
            raise ScoreError(
                f"A score set has {values.shape} scores, {len(self.names)} names and "
                f"{len(self.hashes)} hashes; expected equal numbers of each."
            )
        if not np.isfinite(values).all():
            bad = self.names[int(np.argmin(np.isfinite(values)))]
            raise ScoreError(f"The score of {bad} is not a finite number; score the image again.")
        if self.phashes is not None and (
            len(self.phashes) != len(values) or not all(map(_PHASH.match, self.phashes))
        ):
            raise ScoreError(
                f"A score set of {len(values)} images has {len(self.phashes)} perceptual hashes, "
                "or some that are malformed; expected 64 hexadecimal digits for each. Score the "
                "images again."
            )
        values.flags.writeable = False
        object.__setattr__(self, "scores", values)
        for name in ("features", "looks", "control"):
            if getattr(self, name) is None:
                continue
            table = np.array(getattr(self, name), dtype=np.float64)
            if table.ndim != 2 or len(table) != len(values) or not np.isfinite(table).all():
                raise ScoreError(
                    f"A score set of {len(values)} images has {name} of shape {table.shape}; "
                    "expected a row of finite numbers for each. Score the images again."
                )
            if name == "looks" and table.shape[1] != len(LESS_MORE):
                raise ScoreError(
                    f"A score set has {table.shape[1]} looks for each image; expected "
                    f"{len(LESS_MORE)}. Score the images again."
                )
            table.flags.writeable = False
            object.__setattr__(self, name, table)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def preference(self) -> bool:
        """Whether the rows are a model's preference on images of the owner, not pictures."""
        return self.source.get("kind") == PREFERENCE

    @property
    def whole(self) -> bool:
        """Whether they are a preference that is tested by whole changes and bits together."""
        return counts_whole(self.source)

    @property
    def twins(self) -> bool:
        """Whether the rows compare twins of the owner's images, with ``source["coins"]``."""
        return self.source.get("kind") == TWINS

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored by :meth:`save`."""
        rows = [
            StoredImage(name, digest, float(score), features, looks, control, phash)
            for name, digest, score, features, looks, control, phash in zip(
                self.names,
                self.hashes,
                self.scores,
                *(
                    [None] * len(self) if table is None else table.tolist()
                    for table in (self.features, self.looks, self.control)
                ),
                self.phashes or [None] * len(self),
                strict=True,
            )
        ]
        failures = [StoredFailure(name, error) for name, error in self.failures]
        stored = StoredScores(
            coater=self.coater, source=self.source, images=rows, failures=failures
        )
        plain: dict[str, Any] = to_plain(stored)
        return plain

    def save(self, path: Path) -> None:
        """Write the set as JSON, atomically; loading it gives the same scores bit for bit.

        A file with features is readable only by its owner, because features of a guilty model's
        images reveal the message.

        Parameters
        ----------
        path : Path
            The file; an existing one is replaced.
        """
        mode = 0o644 if self.features is None else 0o600
        write_json(Path(path), self.to_dict(), mode)

    @classmethod
    def load(cls, path: Path | str) -> ScoreSet:
        """Read a set from a file.

        Parameters
        ----------
        path : Path | str
            A file that :meth:`save` wrote.

        Raises
        ------
        ScoreError
            If the file cannot be read or is malformed.
        """
        limits: dict[str, Any] = {"error": ScoreError, "max_bytes": MAX_BYTES}
        stored = read_format(path, StoredScores, advice=_AGAIN, **limits)
        return cls.from_stored(stored, name=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "The score set") -> ScoreSet:
        """A set from the values that :meth:`to_dict` returns.

        Parameters
        ----------
        data : object
            The values.
        name : str
            Where they come from, for the error message.

        Raises
        ------
        ScoreError
            If they are malformed.
        """
        stored = convert_format(data, StoredScores, name=name, error=ScoreError, advice=_AGAIN)
        return cls.from_stored(stored, name=name)

    @classmethod
    def from_stored(cls, stored: StoredScores, *, name: str = "The score set") -> ScoreSet:
        """A set from the structure of a score file or report.

        Parameters
        ----------
        stored : StoredScores
            The structure.
        name : str
            Where it comes from, for the error message.

        Raises
        ------
        ScoreError
            If the images do not have equally many features, looks or features of the control, or
            only some have a perceptual hash.
        """
        rows = stored.images
        phashes = tuple(row.phash for row in rows if row.phash is not None)
        if len(phashes) not in (0, len(rows)):
            raise ScoreError(
                f"{len(phashes)} of {len(rows)} images in {name} have a perceptual hash; expected "
                f"one for each image, or none. {_AGAIN}"
            )
        return cls(
            np.array([row.score for row in rows]),
            tuple(row.name for row in rows),
            tuple(row.sha256 for row in rows),
            stored.coater,
            stored.source,
            tuple((lost.name, lost.error) for lost in stored.failures),
            _table([row.features for row in rows], f"features in {name}"),
            _table([row.looks for row in rows], f"looks in {name}"),
            _table([row.control for row in rows], f"features of the control in {name}"),
            phashes or None,
        )

    @classmethod
    def concat(cls, sets: Sequence[ScoreSet]) -> ScoreSet:
        """Join several sets of the same coater.

        Parameters
        ----------
        sets : sequence of ScoreSet
            At least one. Features, looks, controls and perceptual hashes are kept if all of them
            have them.

        Raises
        ------
        ScoreError
            If there is no set, or they come from different coaters.
        """
        if not sets:
            raise ScoreError("There is no score set to join; expected at least one.")
        for other in sets:
            require_same_coater(sets[0], other)
        return cls(
            np.concatenate([part.scores for part in sets]),
            tuple(name for part in sets for name in part.names),
            tuple(digest for part in sets for digest in part.hashes),
            sets[0].coater,
            {"kind": "joined", "parts": [part.source for part in sets]},
            tuple(failure for part in sets for failure in part.failures),
            _joined([part.features for part in sets]),
            _joined([part.looks for part in sets]),
            _joined([part.control for part in sets]),
            tuple(one for part in sets for one in part.phashes or ())
            if all(part.phashes is not None for part in sets)
            else None,
        )


def counts_whole(source: dict[str, Any]) -> bool:
    """Whether scores of this source are tested by whole changes and bits together.

    Parameters
    ----------
    source : dict[str, Any]
        See :class:`ScoreSet`.
    """
    settings = source.get("settings")
    of_model = source.get("kind") == PREFERENCE
    return of_model and isinstance(settings, dict) and settings.get("whole") is True


def require_same_coater(first: ScoreSet, second: ScoreSet) -> None:
    """Refuse to compare scores of different coaters.

    Parameters
    ----------
    first, second : ScoreSet
        The two sets.

    Raises
    ------
    ScoreError
        If they were not scored by the same coater.
    """
    if first.coater != second.coater:
        raise ScoreError(
            f"The scores come from different coaters ({str(first.coater)[:12]} and "
            f"{str(second.coater)[:12]}) and can't be compared; score both pools with the "
            "coater of the published images."
        )


def _table(rows: Sequence[list[float] | None], what: str) -> NDArray[np.float64] | None:
    """Rows of equal length as a table; None if no image has any."""
    widths = {0 if row is None else len(row) for row in rows}
    if widths == {0}:
        return None
    if len(widths) > 1:
        raise ScoreError(
            f"The images have {' or '.join(map(str, sorted(widths)))} {what}; expected the same "
            f"number for each image. {_AGAIN}"
        )
    return np.array(rows, dtype=np.float64)


def _joined(tables: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """All tables joined; None if a set has none."""
    present = [table for table in tables if table is not None]
    return np.concatenate(present) if len(present) == len(tables) else None
