"""Comparisons of twins by models that are made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from siren_ext.scoring.score_set import ScoreSet


def compared(used: float, count: int = 80, **source: Any) -> ScoreSet:
    """The comparison by a model that was trained on a share of the published copies."""
    rng = np.random.default_rng(0)
    coins = rng.integers(0, 2, count)
    scores = rng.normal(size=count)
    known = round(used * count)
    scores[:known] += 3 * (1 - 2 * coins[:known])
    names = tuple(f"{row}.png" for row in range(count))
    hashes = tuple(f"{row:064x}" for row in range(count))
    facts = {"kind": "twins", "coins": coins.tolist()} | source
    return ScoreSet(scores, names, hashes, "coater", facts)
