"""Score sets without pictures: of given scores, or drawn like those of a model."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from siren_ext.scoring.appearance import LESS_MORE
from siren_ext.scoring.control import control_message
from siren_ext.scoring.score_set import ScoreSet

COATER = "ab" * 32
PLAN = {"prompts": ["a dog"], "seeds": [1, 2], "steps": 20}
BITS = 48


def normal(mean: float, n: int, seed: int) -> NDArray[np.float64]:
    """``n`` scores about ``mean`` with deviation 1."""
    return np.random.default_rng(seed).normal(mean, 1, n)


def pool(scores: ArrayLike, start: int = 0, *, hashed: bool = True, **changes: Any) -> ScoreSet:
    """The given scores, of pictures whose hashes count up from ``start`` (or are not known)."""
    values = np.asarray(scores, dtype=float)
    numbers = range(len(values))
    parts = {
        "scores": values,
        "names": tuple(f"{i:05d}.png" for i in numbers),
        "hashes": tuple(f"{start + i:064x}" if hashed else "" for i in numbers),
        "coater": COATER,
        "source": PLAN,
        "looks": looks_alike(len(values), start),
        "phashes": unlike_hashes(len(values), start),
    }
    return ScoreSet(**(parts | changes))


def unlike_hashes(n: int, start: int = 0) -> tuple[str, ...]:
    """Perceptual hashes of ``n`` different pictures; equal where the numbers from ``start`` are."""
    return tuple(hashlib.sha256(str(start + i).encode()).hexdigest() for i in range(n))


def looks_alike(n: int, start: int) -> NDArray[np.float64]:
    """Looks of ``n`` pictures that are as like those of any other pool as pictures can be."""
    steps = (np.arange(n) + 0.5) / max(n, 1)
    rng = np.random.default_rng((n, start))
    return np.stack([rng.permutation(steps) for _ in LESS_MORE], axis=1)


def drawn(
    mean: float,
    n: int = 40,
    *,
    seed: int = 0,
    start: int | None = None,
    lean: ArrayLike | None = None,
    style: float = 0.0,
    **changes: Any,
) -> ScoreSet:
    """Normal scores; features with a fixed style, leaning to the signs ``lean`` if given.

    The positive control, if there are features, is found.
    """
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, BITS)) + style * np.random.default_rng(5).normal(size=BITS)
    if lean is not None:
        features = features + 0.8 * np.asarray(lean)
    parts = {"scores": rng.normal(mean, 1, n), "features": features} | changes
    if parts["features"] is not None and "control" not in parts:
        given = np.asarray(parts["features"])
        message = control_message(parts.get("coater", COATER), given.shape[1])
        parts["control"] = given + 2.0 * message
    return pool(start=seed * 1000 if start is None else start, **parts)
