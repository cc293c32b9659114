"""The base model in the suspect's place: it never saw the coating, so it must not be found.

A model that removes noise removes a part of any coating, whoever made it. So if the images that it
is asked about carry the opposite of a message, every model seems to add the message. The test
counts messages, not images, and can't tell. Neither can it tell a clean model that was trained on
such images and is subtracted. But the base model would then be found like the suspect. So it is
measured on the same images with the same noise, the same models are subtracted from it, and a find
counts only if the base model is not found (:class:`siren_ext.verdict.whole.Whole`).

An adapter is needed for that. A whole checkpoint has no base model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siren_ext.errors import ScoreError
from siren_ext.preference.changes import MeanField
from siren_ext.scoring.score_set import BASE, FIELD, ScoreSet

Floats = NDArray[np.float64]


def to_plain(features: Floats, field: MeanField) -> dict[str, Any]:
    """What is kept of the base model's measurement.

    Parameters
    ----------
    features : array, shape (n, k)
        As those of the suspect.
    field : MeanField
        Its mean field.

    Returns
    -------
    dict[str, Any]
        Plain values for JSON.
    """
    return {"features": features.tolist(), FIELD: field.to_plain()}


def base_scores(scores: ScoreSet) -> ScoreSet | None:
    """The measurement of the base model, to be tested like that of the suspect.

    Parameters
    ----------
    scores : ScoreSet
        A preference.

    Returns
    -------
    ScoreSet | None
        Of the same images and coater; its losses are the suspect's. None if the base model was not
        measured: for whole checkpoints, by earlier versions, and with ``preference.whole=false``.

    Raises
    ------
    ScoreError
        If what was recorded is malformed.
    """
    plain = scores.source.get(BASE)
    if plain is None:
        return None
    try:
        features = np.array(plain["features"], dtype=np.float64)
        field = plain[FIELD]
    except (TypeError, KeyError, ValueError):
        features, field = np.empty(0), None
    expected = None if scores.features is None else scores.features.shape
    if features.shape != expected or not np.isfinite(features).all():
        raise ScoreError(
            f"The base model's part of this measurement has figures of shape {features.shape}; "
            f"expected {expected} finite numbers. Measure the model again."
        )
    source = {name: value for name, value in scores.source.items() if name != BASE}
    found = replace(scores, features=features, source=source | {FIELD: field})
    if MeanField.of(found) is None:
        raise ScoreError(
            "The base model's part of this measurement has no learnt field. Measure the model "
            "again."
        )
    return found
