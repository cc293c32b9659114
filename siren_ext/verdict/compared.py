"""The figures of the comparison of a suspect's scores with a reference's."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from siren_ext.scoring.message import message_scores
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.ks import KsResult, Method, ks_less, ks_two_sided
from siren_ext.stats.ks_distribution import P_FLOOR
from siren_ext.verdict.pools import distinct_scores


def ks_result(
    suspect: ScoreSet,
    reference: ScoreSet,
    *,
    method: Method,
    two_sided: bool,
    share: float,
    bound: bool = False,
) -> KsResult:
    """Compare the suspect's scores with the reference's.

    Parameters
    ----------
    suspect, reference, method, two_sided, share, bound
        As in :func:`~siren_ext.verdict.findings.ks_finding`.

    Returns
    -------
    KsResult
        The figures, without an outcome.
    """
    pools = distinct_scores(suspect), distinct_scores(reference)
    if two_sided:
        return ks_two_sided(*pools, method=method)
    return ks_less(*pools, method=method, share=share, bound=bound)


def p_by_message(
    suspect: ScoreSet,
    reference: ScoreSet,
    message: ArrayLike,
    *,
    method: Method,
    two_sided: bool,
    share: float,
) -> float | None:
    """p of the same comparison if scores are distances to the centre of a message.

    Parameters
    ----------
    suspect, reference, method, two_sided, share
        As in :func:`~siren_ext.verdict.findings.ks_finding`.
    message : array_like, shape (k,)
        The secret signs, -1 or +1.

    Returns
    -------
    float | None
        Rounded up to a power of ten, because the exact p would narrow the message down. None
        without the coater's features of both models.

    Raises
    ------
    ScoreError
        The message does not fit the features.
    """
    own, others = (message_scores(pool, message) for pool in (suspect, reference))
    if own is None or others is None:
        return None
    p = ks_result(own, others, method=method, two_sided=two_sided, share=share).p_value
    return min(1.0, float(f"1e{math.ceil(math.log10(max(p, P_FLOOR)) - 1e-9)}"))
