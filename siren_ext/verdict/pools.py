"""Pools of scores without copies, and how alike two of them are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.scoring.appearance import Contrast, contrast
from siren_ext.scoring.copies import Copies, copies_in, distinct_rows
from siren_ext.scoring.score_set import ScoreSet


def pools_contrast(suspect: ScoreSet, other: ScoreSet) -> Contrast | None:
    """How unlike another pool's images the suspect's look.

    Parameters
    ----------
    suspect, other : ScoreSet
        The scores.

    Returns
    -------
    Contrast | None
        The largest difference in looks; None if a pool has no record of them.
    """
    own, others = distinct_looks(suspect), distinct_looks(other)
    return None if own is None or others is None else contrast(own, others)


def distinct_looks(pool: ScoreSet) -> NDArray[np.float64] | None:
    """What a pool's distinct images look like.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    NDArray[np.float64] | None
        n x 8, one row per distinct image; None if there is no record.
    """
    return None if pool.looks is None else np.asarray(pool.looks[distinct_rows(pool)])


def used_features(pool: ScoreSet) -> NDArray[np.float64]:
    """The features of a pool without copies.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    NDArray[np.float64]
        n x k: k features of each distinct image.

    Raises
    ------
    ScoreError
        The scores have no features.
    """
    if pool.features is None:
        raise ScoreError(
            "These scores have no features, so a key can't be tested. Score the images with the "
            "keyed coater that the published images were coated with."
        )
    return np.asarray(pool.features[distinct_rows(pool)])


def distinct_scores(pool: ScoreSet) -> NDArray[np.float64]:
    """The scores of a pool's distinct images. A copy is not a new observation.

    Parameters
    ----------
    pool : ScoreSet
        The scores.

    Returns
    -------
    NDArray[np.float64]
        One score per distinct image, in order.
    """
    return np.asarray(pool.scores[distinct_rows(pool)])


def identical_pools(first: ScoreSet, second: ScoreSet) -> bool:
    """Whether two pools consist of the same images.

    Parameters
    ----------
    first, second : ScoreSet
        The scores.

    Returns
    -------
    bool
        Compared by file hashes if all are known, otherwise by scores.
    """
    if all(first.hashes) and all(second.hashes):
        pools = [
            {(h, round(float(s), 4)) for h, s in zip(pool.hashes, pool.scores, strict=True)}
            for pool in (first, second)
        ]
        return pools[0] == pools[1]
    return len(first) == len(second) and bool(
        np.array_equal(np.sort(first.scores), np.sort(second.scores))
    )


def copies_of(
    suspect: ScoreSet, reference: ScoreSet | None, innocents: Sequence[ScoreSet]
) -> dict[str, Copies]:
    """The copies that a verdict leaves out.

    Parameters
    ----------
    suspect, reference, innocents
        The scores.

    Returns
    -------
    dict[str, Copies]
        By "suspect", "reference" and "innocents", as far as there are any; empty for a model's
        preference and for twins, which are no pictures of a model. ``kept`` of the innocent models
        counts positions in all of them, one after the other.
    """
    if suspect.preference or suspect.twins:
        return {}
    found = {"suspect": copies_in(suspect)}
    if reference is not None:
        found["reference"] = copies_in(reference)
    if innocents:
        each = [copies_in(pool) for pool in innocents]
        starts = np.cumsum([0, *map(len, innocents)])
        found["innocents"] = Copies(
            tuple(
                int(start) + row
                for start, one in zip(starts[:-1], each, strict=True)
                for row in one.kept
            ),
            sum(one.exact for one in each),
            sum(one.near for one in each),
            all(one.looked for one in each),
        )
    return found
