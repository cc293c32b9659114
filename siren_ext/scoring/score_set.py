"""A pool of scores: the one currency that tests, verdicts and reports deal in."""

from __future__ import annotations

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

_AGAIN = "Score the images again with 'siren-ext score'."
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
_Hash = Annotated[
    str, Meta(pattern=r"\A([0-9a-f]{64})?\Z", description='64 hexadecimal digits, or ""')
]


class StoredImage(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One scored image of a score file."""

    name: _Text
    sha256: _Hash
    score: _Number
    features: Annotated[list[_Number], Meta(min_length=1, max_length=MAX_FEATURES)] | None = None
    looks: (
        Annotated[list[_Number], Meta(min_length=len(LESS_MORE), max_length=len(LESS_MORE))] | None
    ) = None


class StoredFailure(Struct, forbid_unknown_fields=True):
    """One image without a score, and what went wrong."""

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
    scores : NDArray[np.float64]
        (n,) float64, finite; small means coated.
    names : tuple[str, ...]
        n names, unique where they come from one folder.
    hashes : tuple[str, ...]
        n SHA-256 of the files' bytes; "" where there was no file.
    coater : str
        fingerprint of the coater that scored.
    source : dict[str, Any]
        how the images were made (plain JSON values): kind, prompts, seeds, settings.
    failures : tuple[tuple[str, str], ...]
        (name, what went wrong) of the images that have no score.
    features : NDArray[np.float64] | None
        (n, k) float64, finite, of a keyed coater: evidence for every bit of a message
        (see :mod:`siren_ext.stats.keyed`); None for others. Those of *coated* images tell the
        message: keep such a file as secret as the key.
    looks : NDArray[np.float64] | None
        (n, 8) float64, what the pictures look like, see
        :mod:`siren_ext.scoring.appearance`; None where that was not noted.

    Raises :class:`ScoreError` when the parts contradict each other.
    """

    scores: NDArray[np.float64]
    names: tuple[str, ...]
    hashes: tuple[str, ...]
    coater: str
    source: dict[str, Any] = field(default_factory=dict)
    failures: tuple[tuple[str, str], ...] = ()
    features: NDArray[np.float64] | None = None
    looks: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        values = np.array(self.scores, dtype=np.float64)
        if values.ndim != 1 or not len(values) == len(self.names) == len(self.hashes):
            raise ScoreError(
                f"A score set has {values.shape} scores, {len(self.names)} names and "
                f"{len(self.hashes)} hashes; expected as many of each."
            )
        if not np.isfinite(values).all():
            bad = self.names[int(np.argmin(np.isfinite(values)))]
            raise ScoreError(f"The score of {bad} is not a finite number; score the image again.")
        values.flags.writeable = False
        object.__setattr__(self, "scores", values)
        for name in ("features", "looks"):
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored by :meth:`save`."""
        rows = [
            StoredImage(name, digest, float(score), features, looks)
            for name, digest, score, features, looks in zip(
                self.names,
                self.hashes,
                self.scores,
                [None] * len(self) if self.features is None else self.features.tolist(),
                [None] * len(self) if self.looks is None else self.looks.tolist(),
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
        """Write the set as JSON, atomically; scores survive the round trip bit for bit.

        With features only the owner may read the file: of a guilty model they tell the message.
        """
        mode = 0o644 if self.features is None else 0o600
        write_json(Path(path), self.to_dict(), mode)

    @classmethod
    def load(cls, path: Path | str) -> ScoreSet:
        """Read a set; raises :class:`ScoreError` unless the file is whole and sane."""
        stored = read_format(path, StoredScores, error=ScoreError, advice=_AGAIN)
        return cls.from_stored(stored, name=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "The score set") -> ScoreSet:
        """Check and take over what :meth:`to_dict` gave; ``name`` is used in messages."""
        stored = convert_format(data, StoredScores, name=name, error=ScoreError, advice=_AGAIN)
        return cls.from_stored(stored, name=name)

    @classmethod
    def from_stored(cls, stored: StoredScores, *, name: str = "The score set") -> ScoreSet:
        """The set that a score file or report holds; ``name`` is used in messages.

        Raises :class:`ScoreError` where only some images have features or looks, or other numbers
        of them.
        """
        rows = stored.images
        return cls(
            np.array([row.score for row in rows]),
            tuple(row.name for row in rows),
            tuple(row.sha256 for row in rows),
            stored.coater,
            stored.source,
            tuple((lost.name, lost.error) for lost in stored.failures),
            _table([row.features for row in rows], f"features in {name}"),
            _table([row.looks for row in rows], f"looks in {name}"),
        )

    @classmethod
    def concat(cls, sets: Sequence[ScoreSet]) -> ScoreSet:
        """Several sets as one; they must come from the same coater."""
        if not sets:
            raise ScoreError("Nothing to join: expected at least one score set.")
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
        )


def require_same_coater(first: ScoreSet, second: ScoreSet) -> None:
    """Raise :class:`ScoreError` unless both sets were scored by the same coater."""
    if first.coater != second.coater:
        raise ScoreError(
            f"The scores come from different coaters ({str(first.coater)[:12]} and "
            f"{str(second.coater)[:12]}) and can't be compared; score both pools with the "
            "coater that was released."
        )


def _table(rows: Sequence[list[float] | None], what: str) -> NDArray[np.float64] | None:
    """Rows of one length, or None where there are none at all."""
    widths = {0 if row is None else len(row) for row in rows}
    if widths == {0}:
        return None
    if len(widths) > 1:
        raise ScoreError(
            f"The images have {' or '.join(map(str, sorted(widths)))} {what}; expected equally "
            f"many for each image. {_AGAIN}"
        )
    return np.array(rows, dtype=np.float64)


def _joined(tables: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Rows of all tables, where every set has one."""
    present = [table for table in tables if table is not None]
    return np.concatenate(present) if len(present) == len(tables) else None
