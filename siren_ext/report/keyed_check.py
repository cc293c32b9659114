"""Recomputes a report's keyed finding without the secret, as far as possible."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError
from siren_ext.keys.coating_key import MAX_BITS
from siren_ext.report.earlier import worded_before
from siren_ext.report.keyed_before import restored_before
from siren_ext.report.stored import StoredFinding, StoredReport
from siren_ext.schema import convert
from siren_ext.scoring.score_set import counts_whole
from siren_ext.stats.keyed import LARGEST, KeyedResult, keyed_result
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.control import Control, keyed_outcome
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.whole import Whole, rounded_up


class _Figures(Struct):
    """The values of a keyed result from which the others follow."""

    statistic: Annotated[float, Meta(ge=-1e30, le=1e30)]
    images: Annotated[int, Meta(ge=0, le=10**12)]


class _Whole(Struct, forbid_unknown_fields=True):
    """The values of a test of whole changes."""

    p_value: Annotated[float, Meta(gt=0, le=1)]
    drawn: Annotated[int, Meta(ge=1, le=10**6)]
    base_p_value: Annotated[float, Meta(gt=0, le=1)] | None = None


class _Control(_Figures):
    """The same of a positive control."""

    strengths: Annotated[list[float], Meta(max_length=MAX_BITS)]


def stored_keyed(report: StoredReport, config: VerifyConfig) -> Finding | None:
    """Recompute the keyed finding of a report of any version.

    Parameters
    ----------
    report : StoredReport
        The report.
    config : VerifyConfig
        Its settings.

    Returns
    -------
    Finding | None
        The finding, with p computed anew; None if there is none.

    Raises
    ------
    EvidenceError
        A figure is missing or impossible.
    """
    kept = next((one for one in report.verdict.findings if one.test == "keyed"), None)
    if kept is None:
        return None
    if worded_before(report.verdict.wording):
        return restored_before(kept, report.verdict.settings, config.alpha)
    measured = counts_whole(report.suspect.source)
    if measured != (kept.whole is not None):
        tested, other = ("whole changes", "bits alone")[:: 1 if measured else -1]
        raise EvidenceError(
            f"The suspect's measurement is for a test of {tested}, but the keyed finding is of "
            f"{other}."
        )
    return restored_keyed(kept, config.alpha, config.price)


def restored_keyed(kept: StoredFinding, alpha: float, price: int = 1) -> Finding:
    """Recompute a keyed finding from the stated statistic T and strengths |F_j|.

    Parameters
    ----------
    kept : StoredFinding
        The finding in the report.
    alpha : float
        The accepted risk.
    price : int
        What p is multiplied by.

    Returns
    -------
    Finding
        The finding, with p computed anew.

    Raises
    ------
    EvidenceError
        A figure is missing or impossible.

    Notes
    -----
    The distribution of m . F over random messages m depends only on |F|. So everything except T
    itself can be checked without knowing the message or the features.
    """
    name = "The keyed finding's result"
    figures = convert(kept.result, _Figures, name=name, error=EvidenceError)
    again, strengths = _computed(figures, kept.strengths, "keyed finding")
    control = None
    if kept.control is not None:
        name = "The keyed finding's control"
        stated = convert(kept.control, _Control, name=name, error=EvidenceError)
        control = Control(*_computed(stated, stated.strengths, "positive control"))
    whole = _stated_whole(kept, again.bits)
    return Finding(
        "keyed",
        keyed_outcome(whole or again, control, alpha, price),
        again,
        figures.images,
        0,
        strengths,
        kept.features_sha256,
        kept.committed_as,
        price=price,
        control=control,
        whole=whole,
    )


def _stated_whole(kept: StoredFinding, bits: int) -> Whole | None:
    """What the report says of whole changes. It follows from nothing else in the report."""
    if kept.whole is None:
        return None
    name = "The keyed finding's test of whole changes"
    stated = convert(kept.whole, _Whole, name=name, error=EvidenceError)
    if stated.p_value < 2.0**-bits / (stated.drawn + 1):
        raise EvidenceError(
            f"{name} has the p-value {stated.p_value:.3g}, which no message of {bits} bits has "
            f"among {stated.drawn:,} others."
        )
    for p in (stated.p_value, stated.base_p_value):
        if p is not None and rounded_up(p) != p:
            raise EvidenceError(
                f"{name} has the p-value {p:.6g}, which is not rounded as it should be."
            )
    return Whole(stated.p_value, stated.drawn, bits, stated.base_p_value)


def _computed(
    figures: _Figures, stated: list[float], name: str
) -> tuple[KeyedResult, tuple[int, ...]]:
    """The result that follows from T and the strengths, and the strengths."""
    strengths, statistic = np.asarray(stated, dtype=np.float64), figures.statistic
    if not len(strengths):
        raise EvidenceError(f"The {name} has no strengths.")
    if (np.diff(strengths) < 0).any() or strengths[0] < 0:
        raise EvidenceError(f"The strengths of the {name} are not in ascending order.")
    if (strengths % 1).any() or strengths[-1] not in (0, LARGEST):
        raise EvidenceError(
            f"The strengths of the {name} are not whole numbers of which the largest is {LARGEST}."
        )
    if abs(statistic) > strengths.sum():
        raise EvidenceError(f"The statistic T of the {name} is larger than possible.")
    if (statistic + strengths.sum()) % 2:
        raise EvidenceError(
            f"The statistic T of the {name} is {statistic:g}, which no message has with these "
            "strengths."
        )
    result = keyed_result(strengths, statistic, images=figures.images)
    return result, tuple(int(value) for value in strengths)
