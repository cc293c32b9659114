"""Refuses one model that is given as several, which would count as that many models."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet


def require_different_models(pools: Sequence[ScoreSet], name: str) -> None:
    """Refuse scores of the same images, and of a model that is recorded for others too.

    Parameters
    ----------
    pools : Sequence[ScoreSet]
        Scores of one model each.
    name : str
        What such models are called, such as "reference model".

    Raises
    ------
    ScoreError
        Two have the same images, or their images were made by the same model with the same
        adapters. Of images without such a record it is not known.
    """
    seen: dict[Hashable, int] = {}
    for number, pool in enumerate(pools, start=1):
        marks = {"images": _images(pool), "model, by their records": _made(pool)}
        for what, mark in marks.items():
            first = seen.setdefault(mark, number) if mark is not None else number
            if first != number:
                raise ScoreError(
                    f"{name.capitalize()}s {first} and {number} are the same {what}; expected "
                    "different models. Give the scores of each model once."
                )


def _images(pool: ScoreSet) -> Hashable:
    """The images of a pool, by their files or else by their scores."""
    if all(pool.hashes):
        scores = (round(float(one), 4) for one in pool.scores)
        return frozenset(zip(pool.hashes, scores, strict=True))
    return np.sort(pool.scores).tobytes()


def _made(pool: ScoreSet) -> Hashable | None:
    """The model and adapters that made a pool's images; None without a record."""
    record: Any = pool.source.get("provenance")
    facts = record.get("suspect") if isinstance(record, dict) else None
    if not isinstance(facts, dict) or not isinstance(facts.get("model_fingerprint"), str):
        return None
    adapters = facts.get("adapters") or []
    if not isinstance(adapters, list) or not all(isinstance(one, dict) for one in adapters):
        return None
    used = tuple((str(one.get("hash")), str(one.get("weight"))) for one in adapters)
    return facts["model_fingerprint"], used
