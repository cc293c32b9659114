"""Scores with the key: how far a picture is from the centre of the owner's message.

A keyed coater has a centre per message. Without the key, a picture's score is its distance to the
nearest of all centres; with it, the distance to the message's own. Such scores are as secret as the
message, because each of them narrows it down, so they are never stored.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import CENTRED, ScoreSet
from siren_ext.stats.keyed import checked_message

AMPLITUDE = 4.0
"""The centre of a message is this times its signs, as in :mod:`siren_ext.coater.hypersphere`."""


def message_scores(pool: ScoreSet, message: ArrayLike) -> ScoreSet | None:
    """The pool with the distances to a message's centre as scores.

    Parameters
    ----------
    pool : ScoreSet
        Scores of n pictures.
    message : array_like, shape (k,)
        The secret signs, -1 or +1.

    Returns
    -------
    ScoreSet | None
        With scores sqrt(|f - 4 m|^2 + 1) - 1 of the features f. None if there are no features, or
        they were centred and so are not those of the coater.

    Raises
    ------
    ScoreError
        The message has another length than the features, or other values than -1 and +1.
    """
    if pool.features is None or CENTRED in pool.source:
        return None
    away = pool.features - AMPLITUDE * checked_message(message, pool.features.shape[1])
    scores = np.sqrt(np.square(away).sum(axis=1) + 1) - 1
    if not np.isfinite(scores).all():
        raise ScoreError("Some features are too large; score the images again.")
    return replace(pool, scores=scores)
