"""A pool of scores: the one currency that tests, verdicts and reports deal in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.files import write_json
from siren_ext.scoring.appearance import LESS_MORE

FORMAT = "siren_ext.scores"
FORMAT_VERSION = 1
MAX_BYTES = 64 << 20
MAX_IMAGES = 1_000_000
MAX_TEXT = 4096
MAX_FEATURES = 512
_HASH = re.compile(r"[0-9a-f]{64}")


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
        images: list[dict[str, Any]] = [
            {"name": name, "sha256": digest, "score": float(score)}
            for name, digest, score in zip(self.names, self.hashes, self.scores, strict=True)
        ]
        for name, table in (("features", self.features), ("looks", self.looks)):
            if table is not None:
                for row, values in zip(images, table.tolist(), strict=True):
                    row[name] = values
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "coater": self.coater,
            "source": self.source,
            "images": images,
            "failures": [{"name": name, "error": error} for name, error in self.failures],
        }

    def save(self, path: Path) -> None:
        """Write the set as JSON, atomically; scores survive the round trip bit for bit.

        With features only the owner may read the file: of a guilty model they tell the message.
        """
        mode = 0o644 if self.features is None else 0o600
        write_json(Path(path), self.to_dict(), mode)

    @classmethod
    def load(cls, path: Path | str) -> ScoreSet:
        """Read a set; raises :class:`ScoreError` unless the file is whole and sane."""
        path = Path(path)
        return cls.from_dict(read_json(path), name=str(path))

    @classmethod
    def from_dict(cls, data: Any, *, name: str = "The score set") -> ScoreSet:
        """Check and take over what :meth:`to_dict` gave; ``name`` is used in messages."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ScoreError(f"{name} is not a score file; make one with 'siren-ext score'.")
        if data.get("version") != FORMAT_VERSION:
            raise ScoreError(
                f"{name} has version {str(data.get('version'))[:40]}; this program reads "
                f"version {FORMAT_VERSION}. Score the images again."
            )
        images, failures = data.get("images"), data.get("failures", [])
        source = data.get("source", {})
        if not (isinstance(images, list) and isinstance(failures, list)) or not images:
            raise ScoreError(f"{name} holds no list of scored images; score the images again.")
        if not isinstance(source, dict):
            raise ScoreError(f"{name}: 'source' is not an object; score the images again.")
        if len(images) + len(failures) > MAX_IMAGES:
            raise ScoreError(f"{name} holds {len(images)} images; at most {MAX_IMAGES:,} are read.")
        coater = _text(data, "coater", name)
        rows = [_row(entry, f"{name}, image {i}") for i, entry in enumerate(images)]
        lost = tuple(
            (_text(entry, "name", f"{name}, failure {i}"), _text(entry, "error", name))
            for i, entry in enumerate(failures)
        )
        names, hashes, scores = zip(*rows, strict=True)
        features, looks = (_table(images, part, name) for part in ("features", "looks"))
        return cls(np.array(scores), names, hashes, coater, source, lost, features, looks)

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


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Strict JSON of limited size: no NaN, no infinity; raises :class:`ScoreError`."""
    name = str(path)

    def refuse(word: str) -> Any:
        raise ScoreError(f"{name} holds {word}, which is not a finite number.")

    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise ScoreError(f"{name} has {size:,} bytes; at most {max_bytes:,} are read.")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ScoreError(f"{name} can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ScoreError(f"{name} is not valid JSON: {str(error)[:200]}") from error


def _text(entry: Any, key: str, name: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ScoreError(f"{name}: '{key}' is missing or not a text of at most {MAX_TEXT} letters.")
    return value


def _row(entry: Any, name: str) -> tuple[str, str, float]:
    digest = _text(entry, "sha256", name)
    if digest and not _HASH.fullmatch(digest):
        raise ScoreError(f"{name}: 'sha256' is not 64 hexadecimal digits.")
    score = entry.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or abs(score) > 1e30:
        raise ScoreError(f"{name}: 'score' is {str(score)[:40]}; expected a finite number.")
    return _text(entry, "name", name), digest, float(score)


def _table(images: list[Any], part: str, name: str) -> NDArray[np.float64] | None:
    """The rows of ``features`` or ``looks``: all of one length, or none at all."""
    if not any(part in entry for entry in images):
        return None
    rows = [entry.get(part) for entry in images]
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    for number, row in enumerate(rows):
        if (
            not isinstance(row, list)
            or not 1 <= len(row) == width <= MAX_FEATURES
            or not all(type(value) in (int, float) and abs(value) <= 1e30 for value in row)
        ):
            raise ScoreError(
                f"{name}, image {number}: '{part}' is not a list of finite numbers as long as "
                f"the others, at most {MAX_FEATURES}; score the images again."
            )
    return np.array(rows, dtype=np.float64)


def _joined(tables: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64] | None:
    """Rows of all tables, where every set has one."""
    present = [table for table in tables if table is not None]
    return np.concatenate(present) if len(present) == len(tables) else None
