"""Recomputes a report's keyed finding without the secret, as far as possible."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from siren_ext.errors import EvidenceError
from siren_ext.report.stored import StoredFinding
from siren_ext.schema import convert
from siren_ext.stats.keyed import HISTOGRAM_BINS, keyed_result
from siren_ext.stats.keyed_bounds import message_tail
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.outcomes import outcome_of

_Count = Annotated[int, Meta(ge=0, le=10**12)]


class _Figures(Struct):
    """The values of a keyed result from which the others follow."""

    statistic: Annotated[float, Meta(ge=-1e30, le=1e30)]
    at_least: _Count
    images: _Count
    bits_right: _Count
    bit_accuracy: Annotated[float, Meta(ge=0, le=1)]
    histogram: Annotated[tuple[_Count, ...], Meta(min_length=1, max_length=HISTOGRAM_BINS)]


def restored_keyed(kept: StoredFinding, alpha: float, decoys: int, price: int = 1) -> Finding:
    """Recompute a keyed finding from the stated statistic T, strengths |F_j| and counts.

    Parameters
    ----------
    kept : StoredFinding
        The finding in the report.
    alpha : float
        The accepted risk.
    decoys : int
        Number of random messages.
    price : int
        What p is multiplied by.

    Returns
    -------
    Finding
        The finding, with p computed anew.

    Raises
    ------
    EvidenceError
        A figure is missing or impossible, or the count of random messages that reached T does not
        fit the strengths.

    Notes
    -----
    The distribution of m . F over random messages m depends only on |F|. So everything except T
    itself can be checked without knowing the message or the features.
    """
    name = "The keyed finding's result"
    result = convert(kept.result, _Figures, name=name, error=EvidenceError)
    strengths = np.asarray(kept.strengths, dtype=np.float64)
    statistic, at_least, images = result.statistic, result.at_least, result.images
    if not len(strengths):
        raise EvidenceError("The keyed finding has no strengths.")
    span = float(strengths.sum())
    bits = len(strengths)
    if (np.diff(strengths) < 0).any() or strengths[0] < 0:
        raise EvidenceError("The strengths of the keyed finding are not in ascending order.")
    # tanh limits each bit to 1 per image
    if abs(statistic) > span * (1 + 1e-9) or strengths[-1] > images * (1 + 1e-9):
        raise EvidenceError("The statistic T of the keyed finding is larger than possible.")
    if at_least > decoys or sum(result.histogram) != decoys or result.bits_right > bits:
        raise EvidenceError("The counts of the keyed finding contradict each other.")
    _require_likely(at_least, decoys, message_tail(strengths, statistic))
    again = keyed_result(
        strengths,
        statistic,
        at_least=at_least,
        decoys=decoys,
        images=images,
        bits_right=result.bits_right,
        bit_accuracy=result.bit_accuracy,
        histogram=result.histogram,
    )
    return Finding(
        "keyed",
        outcome_of(min(1.0, again.p_value * price), min(1.0, again.smallest_p * price), alpha),
        again,
        images,
        decoys,
        tuple(kept.strengths),
        kept.features_sha256,
        kept.committed_as,
        price=price,
    )


def _require_likely(at_least: int, decoys: int, tail: float) -> None:
    """Raise unless the count, which is binomial with mean ``decoys * tail``, is plausible."""
    expected = decoys * tail
    if abs(at_least - expected) > 8 * expected**0.5 + 0.1 * expected + 20:
        raise EvidenceError(
            f"The keyed finding says that {at_least:,} of {decoys:,} random messages reached T, "
            f"but its strengths give about {expected:,.0f}."
        )
