"""What reports of earlier versions say of the same figures.

Up to version 2 of the sentences, a comparison with a reference could say "coating found". Such a
report is checked by the rules under which it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from siren_ext.report.points import CheckPoint
from siren_ext.scoring.appearance import Contrast, EarlierContrast, too_unlike
from siren_ext.scoring.copies import mirrored_in
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.findings import STRICTEST_FIRST, Finding
from siren_ext.verdict.outcomes import outcome_of
from siren_ext.verdict.pools import identical_pools

FOUND_BEFORE: Final = "coating found"
_LAST, _LAST_WITHOUT_MIRRORED = 2, 6


def worded_before(wording: int | None) -> bool:
    """Whether a report was written when a comparison with a reference could say "coating found".

    Parameters
    ----------
    wording : int | None
        The version of its sentences; None in the oldest reports.

    Returns
    -------
    bool
        True up to version 2.
    """
    return wording is None or wording <= _LAST


def mirrored_before(
    wording: int | None, pools: Iterable[ScoreSet | None], again: ScoreSet | None = None
) -> list[CheckPoint]:
    """Let mirrored copies count as pictures, as they did up to version 6 of the sentences.

    Parameters
    ----------
    wording : int | None
        The version of the report's sentences.
    pools : Iterable[ScoreSet | None]
        Its scores, of which nobody asked for copies before.
    again : ScoreSet | None
        The suspect's scores from their own file.

    Returns
    -------
    list[CheckPoint]
        ``not checked`` if there are such copies.
    """
    if wording is not None and wording > _LAST_WITHOUT_MIRRORED:
        return []
    near = sum(mirrored_in(pool) for pool in pools if pool is not None)
    if again is not None:
        mirrored_in(again)
    if not near:
        return []
    text = f"by today's rules {near} more mirrored copies of pictures would be left out"
    return [CheckPoint("mirrored copies", "not checked", text)]


def as_before(
    finding: Finding, suspect: ScoreSet, reference: ScoreSet | None, alpha: float
) -> Finding:
    """A finding with the outcome that it had then.

    Parameters
    ----------
    finding : Finding
        As computed now.
    suspect, reference : ScoreSet
        The scores.
    alpha : float
        The accepted risk.

    Returns
    -------
    Finding
        A find among images that are too unlike, and any comparison of the same images, was
        "inconclusive".
    """
    outcome = outcome_of(finding.p_value, finding.smallest_p, alpha)
    apart = contrast_before(finding.contrast)
    if too_unlike(apart) and outcome == FOUND_BEFORE:
        outcome = "inconclusive"
    if finding.test == "ks" and reference is not None and identical_pools(suspect, reference):
        outcome = "inconclusive"
    return replace(finding, outcome=outcome, contrast=apart)


def contrast_before(apart: Contrast | None) -> EarlierContrast | None:
    """A contrast by the rule of then.

    Parameters
    ----------
    apart : Contrast | None
        As computed now.

    Returns
    -------
    EarlierContrast | None
        The same share; None if it is not known.
    """
    return None if apart is None else EarlierContrast(apart.share, apart.n, apart.m, apart.words)


def decided_before(findings: Sequence[Finding]) -> Finding:
    """The finding that decided then: the strictest that was not inconclusive.

    Parameters
    ----------
    findings : Sequence[Finding]
        At least one, with the outcomes that they had then.

    Returns
    -------
    Finding
        The one that decided.
    """
    order = sorted(findings, key=lambda finding: STRICTEST_FIRST.index(finding.test))
    return next((finding for finding in order if finding.outcome != "inconclusive"), order[0])
