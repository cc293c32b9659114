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
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import Finding, finding_of_ks, ks_finding, ks_result

# suspect times reference images; an exact p takes about 8 ns per pair, so 3 s for this many
EXACT_CELLS = 400_000_000
# How far log p may be from that of the approximation. Measured with 20,000 against 20,000 images
# and with 1000 against 400,000: at most 3 % of log p, for p down to 1e-130.
_SHARE, _SPAN = 0.05, 0.03


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
    agrees with the approximation for large samples.

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
    if not takes_long(config, own, reference):
        return ks_finding(own, reference, config.alpha, **config.comparison())
    if stated is None:
        raise EvidenceError("The report has a reference, but no comparison with it.")
    name = "The comparison with the reference"
    p = convert(stated.result, KsResult, name=name, error=EvidenceError).p_value
    near = ks_result(own, reference, **config.comparison() | {"method": "asymptotic"})
    if not 0 < p <= 1 or abs(math.log(p / near.p_value)) > _SPAN - _SHARE * math.log(near.p_value):
        raise EvidenceError(
            f"The exact p against the reference is {p:.3g} in the report, but the approximation "
            f"for so many images is {near.p_value:.3g}; expected nearly the same."
        )
    sides = 2 if config.two_sided else 1
    smallest = smallest_exact_p(near.n, near.m, sides)
    result = replace(near, p_value=p, method="exact", smallest_p=smallest)
    return finding_of_ks(result, own, reference, config.alpha)
