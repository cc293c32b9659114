"""Recomputes a report's comparison with a reference, unless the exact p would take too long."""

from __future__ import annotations

import math
from dataclasses import replace

from siren_ext.errors import EvidenceError
from siren_ext.report.stored import StoredFinding
from siren_ext.schema import convert
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.ks import KsResult
from siren_ext.stats.ks_distribution import smallest_exact_p
from siren_ext.stats.low_end import low_end_count
from siren_ext.stats.low_end_distribution import low_end_bounds
from siren_ext.verdict.compared import ks_result
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import Finding, finding_of_ks, ks_finding

# suspect times reference images; an exact p takes about 8 ns per pair, so 3 s for this many
EXACT_CELLS = 400_000_000
# How far log p of a gap anywhere may be from that of the approximation. Measured with 20,000
# against 20,000 images and with 1000 against 400,000: at most 3 % of log p, for p down to 1e-130.
_SHARE, _SPAN = 0.05, 0.03
_ROUNDING = 1e-6


def takes_long(config: VerifyConfig, own: ScoreSet, reference: ScoreSet) -> bool:
    """Whether computing the exact p that the settings ask for would take too long.

    A report's author chooses its settings, and the exact p of the 450,000 images that fit into a
    report would take minutes.

    Parameters
    ----------
    config : VerifyConfig
        The report's settings.
    own, reference : ScoreSet
        The scores.

    Returns
    -------
    bool
        True if it would take more than about 3 seconds.
    """
    return config.method == "exact" and len(own) * len(reference) > EXACT_CELLS


def restored_ks(
    stated: StoredFinding | None, own: ScoreSet, reference: ScoreSet, config: VerifyConfig
) -> Finding:
    """Recompute the comparison with a reference.

    If the exact p would take too long (:func:`takes_long`), the stated p is used, provided that it
    agrees with the approximation for large samples, or with the bounds of
    :func:`~siren_ext.stats.low_end_distribution.low_end_bounds`.

    A finding that does not state how many references its exact p searched is of the time before
    that p was known. It states the p of a gap anywhere, which is larger, and is recomputed so.

    Parameters
    ----------
    stated : StoredFinding | None
        The finding in the report, None if there is none.
    own, reference : ScoreSet
        The scores.
    config : VerifyConfig
        The settings.

    Returns
    -------
    Finding
        The finding.

    Raises
    ------
    EvidenceError
        The stated p can't be the exact one.
    """
    earlier = stated is not None and "searched" not in stated.result
    # it needs the features of both models, which are in no report
    by_message = None if stated is None else stated.by_message
    if not takes_long(config, own, reference):
        found = ks_finding(own, reference, config.alpha, bound=earlier, **config.comparison())
        return replace(found, by_message=by_message)
    if stated is None:
        raise EvidenceError("The report has a reference, but no comparison with it.")
    name = "The comparison with the reference"
    p = convert(stated.result, KsResult, name=name, error=EvidenceError).p_value
    near = ks_result(own, reference, **config.comparison() | {"method": "asymptotic"})
    searched = None
    if config.two_sided or config.low_end == 1 or earlier:
        slack = math.exp(_SPAN - _SHARE * math.log(near.p_value))
        low, high = near.p_value / slack, near.p_value * slack
    else:
        searched = low_end_count(near.m, config.low_end)
        gap = round(near.statistic * math.lcm(near.n, near.m))
        low, high = low_end_bounds(gap, near.n, near.m, searched)
    if not (0 < p <= 1 and low <= p * (1 + _ROUNDING) and p <= high * (1 + _ROUNDING)):
        raise EvidenceError(
            f"The exact p against the reference is {p:.3g} in the report; expected nearly the same "
            f"as for so many images in general, {low:.3g} to {high:.3g}."
        )
    sides = 2 if config.two_sided else 1
    smallest = smallest_exact_p(near.n, near.m, sides)
    result = replace(near, p_value=p, method="exact", smallest_p=smallest, searched=searched)
    return replace(finding_of_ks(result, own, reference, config.alpha), by_message=by_message)
