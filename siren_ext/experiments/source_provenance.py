"""A comparison without key samples, after TrainProVe (Xie et al. 2025, arXiv 2503.09122).

There, a shadow model is trained on the source's pictures, and a suspicious classifier counts as
trained on them unless its accuracy is significantly lower, by a one-sided Grubbs test. Here models
make pictures, so what is compared is how close their pictures of the source's captions are to those
of the source. Nothing is selected, and the source's training images are not needed.

Null hypothesis: the closeness of the suspicious model and of the shadow models come from one normal
distribution, so it was trained as they were. Grubbs' test corrects for picking the lowest of all
values; here the value is named beforehand, so the prediction test is exact. Not to reject it proves
nothing: the fewer shadow models there are, and the more they differ, the more innocent models count
as trained on the pictures. Their share is therefore measured, on innocent models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from siren_ext.baselines.similarity import cosines
from siren_ext.errors import ScoreError
from siren_ext.experiments.source_tables import POOLED, Row, score_rows, table_row
from siren_ext.stats.prediction import LEAST_MODELS, prediction_less
from siren_ext.stats.shares import exact_interval

Floats = NDArray[np.float64]

KEYS = "provenance"
ALPHA = 0.05


def closeness(own: Sequence[Floats | None], source: Sequence[Floats | None]) -> float:
    """Mean cosine between a model's pictures and the source's, over captions that both answered.

    Parameters
    ----------
    own, source : sequence of array of shape (e,), or None
        Embeddings of the first picture of each caption.

    Raises
    ------
    ScoreError
        If there is no such caption.
    """
    known = [
        (first, second)
        for first, second in zip(own, source, strict=True)
        if first is not None and second is not None
    ]
    if not known:
        raise ScoreError("Model and source answered no caption in common; expected at least one.")
    mine, theirs = (np.stack(vectors) for vectors in zip(*known, strict=True))
    return float(np.diagonal(cosines(mine, theirs)).mean())


def provenance_rows(
    sources: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], false_positives: float
) -> list[Row]:
    """Rows of how many models count as trained on a source's pictures, for every rho.

    The shadow models are those of rho = 1; one of them is judged by the others.

    Parameters
    ----------
    sources : mapping of str to two mappings
        For every source, closeness and rho of its models. Sources with fewer than four models of
        rho = 1 are left out.
    false_positives : float
        Accepted share of innocent models above the threshold of closeness.
    """
    judged: dict[str, list[tuple[float, float, float]]] = {}
    for name, (values, shares) in sources.items():
        shadows = [model for model, share in shares.items() if share == 1.0]
        if len(shadows) <= LEAST_MODELS:
            continue
        judged[name] = []
        for model, share in shares.items():
            others = [values[one] for one in shadows if one != model]
            p = prediction_less(values[model], others).p_value
            judged[name].append((share, values[model], p))
    rows: list[Row] = []
    groups = (
        {POOLED: [one for found in judged.values() for one in found]} if len(judged) > 1 else {}
    )
    for name, found in (groups | judged).items():
        for rho in sorted({share for share, _, _ in found}, reverse=True):
            kept = [p >= ALPHA for share, _, p in found if share == rho]
            row = table_row(
                "counted as trained",
                KEYS,
                rho,
                sum(kept) / len(kept),
                *exact_interval(sum(kept), len(kept)),
                len(kept),
            )
            rows.append({"source": name, **row})
        if name != POOLED:  # closeness of different sources is not on one scale
            known, innocent = (
                np.array([value for share, value, _ in found if share == rho]) for rho in (1.0, 0.0)
            )
            table = score_rows("closeness", KEYS, known, innocent, false_positives, rho=1.0)
            rows += [{"source": name, **row} for row in table]
    return rows
