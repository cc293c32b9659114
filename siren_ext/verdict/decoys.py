"""The finding of decoys: does the true coater find more in the pictures than its decoys?

Null hypothesis: the suspect's pictures have nothing to do with the random pattern of this coater.
The pattern followed from a random seed, and the decoys were made in the same way with other seeds.
Under the null the true coater and its K decoys are then exchangeable, whatever the pictures look
like, so its rank among them is uniform: p = (1 + number of decoys that find as much) / (K + 1).
No assumption about style, subject, prompts or image processing is needed.

The null also fails if the coater was chosen by looking at these pictures, or the pictures by
looking at its scores. A commitment made before the images were released rules out the first. So
only a committed coater can be "found".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from siren_ext.errors import ScoreError
from siren_ext.scoring.decoys import decoys_of, way_of
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.rank import rank_among
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.outcomes import outcome_of
from siren_ext.verdict.pools import distinct_scores


def decoys_finding(suspect: ScoreSet, alpha: float, *, price: int = 1) -> Finding:
    """Rank the true coater among its decoys on the suspect's pictures.

    Parameters
    ----------
    suspect : ScoreSet
        Scores by the true coater and by its decoys, see
        :func:`siren_ext.scoring.decoys.score_decoys`.
    alpha : float
        The accepted risk.
    price : int
        What p is multiplied by, for earlier tests of the coater.

    Returns
    -------
    Finding
        "inconclusive" if there are too few decoys for ``alpha`` and the price. Decoys that find
        exactly as much as the true coater count against it. Copies of a picture count once.

    Raises
    ------
    ScoreError
        There are no scores by decoys, or they are malformed.

    References
    ----------
    :mod:`siren_ext.stats.rank`.
    """
    own, *others = ways(suspect)
    result = rank_among(own, others, alternative="greater")
    p_value, smallest = (min(1.0, p * price) for p in (result.p_value, result.smallest_p))
    outcome, images = outcome_of(p_value, smallest, alpha), len(distinct_scores(suspect))
    return Finding("decoys", outcome, result, images, len(others), price=price)


def ways(suspect: ScoreSet) -> list[float]:
    """The statistic of the true coater and of every decoy.

    Parameters
    ----------
    suspect : ScoreSet
        As in :func:`decoys_finding`.

    Returns
    -------
    list[float]
        :func:`~siren_ext.scoring.decoys.way_of` by the true coater, then by decoys 1 to K.

    Raises
    ------
    ScoreError
        As in :func:`decoys_finding`.
    """
    found = decoys_of(suspect)
    if found is None:
        raise ScoreError(
            "There are no scores by decoys. Score the pictures again with 'siren-ext score "
            "--decoys'."
        )
    pools = [replace(suspect, scores=np.array(one.scores)) for one in found.decoys]
    ends = [found.ends, *(one.ends for one in found.decoys)]
    return [
        way_of(distinct_scores(pool), end)
        for pool, end in zip([suspect, *pools], ends, strict=True)
    ]
