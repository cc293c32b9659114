"""What tests say of a model's pictures, in the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from siren_ext.experiments.measures import LEVELS, area
from siren_ext.experiments.paper_cells import PaperConfig
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test
from siren_ext.stats.resample import resampled_ks

_LEVELS = (*LEVELS, 1e-9)
"""Risks of tests; the smallest is the one at which the paper's attacks are compared."""


def picture_figures(
    suspect: ScoreSet, reference: ScoreSet, signs: Sequence[int], config: PaperConfig, number: int
) -> dict[str, Any]:
    """Rates and p-values of one model.

    Parameters
    ----------
    suspect, reference : ScoreSet
        Of one coater.
    signs : sequence of int
        The secret message, of -1 and 1; not used if the coater is not keyed.
    config : PaperConfig
        Sizes and number of the tests.
    number : int
        Which of the models that differ in nothing but their seed; seeds the draws.

    Returns
    -------
    dict
        ``tpr_ALPHA``, ``auc``, ``p_few``, ``p_pictures`` and ``pictures``, as in
        :meth:`~siren_ext.experiments.paper_study.PaperStudy.rows`; both p are None if the coater
        is not keyed.
    """
    tests = resampled_ks(
        suspect.scores,
        reference.scores,
        size=config.size,
        repeats=config.repeats,
        reference_size=config.against,
        rng=np.random.default_rng((number, 11)),
    )
    shares = zip(_LEVELS, tests.tpr(_LEVELS), strict=True)
    found: dict[str, Any] = {f"tpr_{level:g}": float(share) for level, share in shares}
    found["auc"] = area(suspect.scores, reference.scores).value
    features = suspect.features
    for name, size in (("p_few", config.size), ("p_pictures", None)):
        found[name] = None if features is None else keyed_test(features[:size], signs).p_value
    return found | {"pictures": len(suspect.scores)}
