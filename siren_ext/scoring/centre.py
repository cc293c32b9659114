"""Centring: takes from the features what uncoated pictures of the same kind have too.

What a coater reads for a bit depends on the kind of picture. On paintings, say, it may read the
same sign of a bit everywhere, and then tanh of the feature says little about the message. The mean
and spread of each bit over uncoated pictures of that kind remove this.

Neither of them depends on the message, so p of the keyed test stays exact. Whether to centre must
be decided before the test: trying both ways is two tests, and the ledger counts them as two. All of
this holds for pictures without a coating. Whoever centres by pictures that carry the opposite
message makes an innocent model fit, and scores do not show it; so a verdict on them warns.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.scoring.copies import distinct_rows
from siren_ext.scoring.score_set import CENTRED, ScoreSet, require_same_coater
from siren_ext.stats.keyed import SCALE

LEAST = 20
"""Fewest uncoated pictures; with fewer, their mean is as noisy as what it removes."""
WIDTH = 1.5
"""A feature WIDTH standard deviations from the mean contributes tanh(1)."""


def centred(suspect: ScoreSet, uncoated: ScoreSet) -> ScoreSet:
    """Scores whose features and positive control are centred by uncoated pictures.

    Parameters
    ----------
    suspect : ScoreSet
        Scores of n pictures with features of k bits.
    uncoated : ScoreSet
        Scores of other pictures of the same kind, which certainly carry no coating, by the same
        coater; 20 or more without copies.

    Returns
    -------
    ScoreSet
        The same with features 4 (f - mu) / (1.5 sigma), where mu and sigma are mean and standard
        deviation of each bit over the uncoated pictures; the keyed test then sums
        tanh((f - mu) / (1.5 sigma)). ``source["centred"]`` names the uncoated pictures.

    Raises
    ------
    ScoreError
        If the coaters differ, features are missing, there are too few uncoated pictures, some are
        among the suspect's, or the suspect is centred already.
    """
    require_same_coater(suspect, uncoated)
    if suspect.features is None or uncoated.features is None or suspect.preference:
        raise ScoreError(
            "Only features from a keyed coater can be centred; score the suspect's pictures and "
            "the uncoated pictures with the keyed coater."
        )
    for name, pool in (("suspect's", suspect), ("uncoated pictures'", uncoated)):
        if CENTRED in pool.source:
            raise ScoreError(
                f"The {name} scores have already been centred; score the pictures again."
            )
    shared = {one for one in suspect.hashes if one} & {one for one in uncoated.hashes if one}
    if shared:
        raise ScoreError(
            f"{len(shared)} of the uncoated pictures are also among the suspect's pictures; "
            "expected other pictures of the same kind."
        )
    rows = distinct_rows(uncoated)
    if len(rows) < LEAST:
        raise ScoreError(
            f"There are {len(rows)} uncoated pictures (copies are counted once); expected at "
            f"least {LEAST} of the same kind as the suspect's."
        )
    distinct = uncoated.features[rows]
    middle = distinct.mean(axis=0)
    spread = np.maximum(distinct.std(axis=0, ddof=1), 1e-6)

    def moved(table: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
        return None if table is None else SCALE * (table - middle) / (WIDTH * spread)

    names: dict[str, Any] = {
        "pictures": len(uncoated),
        "sha256": hashlib.sha256(
            np.ascontiguousarray(uncoated.features, dtype="<f8").tobytes()
        ).hexdigest(),
    }
    return replace(
        suspect,
        source={**suspect.source, CENTRED: names},
        features=moved(suspect.features),
        control=moved(suspect.control),
    )
