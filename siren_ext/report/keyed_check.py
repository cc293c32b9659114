"""The keyed finding of a report, computed again without the secret as far as that goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from siren_ext.errors import EvidenceError
from siren_ext.keys.coating_key import MAX_BITS
from siren_ext.stats.keyed import HISTOGRAM_BINS, keyed_result
from siren_ext.stats.keyed_bounds import message_tail
from siren_ext.verdict.findings import Finding, outcome_of


def restored_keyed(kept: Mapping[str, Any], alpha: float, decoys: int) -> Finding:
    """A finding whose p follow from the stated statistic T, the strengths |F_j| and the count.

    The distribution of m . F over random messages depends on |F| alone, so everything but T itself
    can be checked by somebody who knows neither the message nor the features. The count of decoys
    that reached T has to be one that this distribution gives.

    Raises :class:`EvidenceError` when figures are missing or impossible.
    """
    result = kept["result"]
    strengths = _numbers(kept.get("strengths"), "strengths", MAX_BITS)
    histogram = _numbers(result.get("histogram"), "histogram", HISTOGRAM_BINS)
    statistic = _number(result, "statistic")
    at_least, bits_right = _count(result, "at_least"), _count(result, "bits_right")
    images = _count(result, "images")
    span = float(strengths.sum())
    bits = len(strengths)
    if (np.diff(strengths) < 0).any() or strengths[0] < 0:
        raise EvidenceError("The strengths of the keyed finding are not in ascending order.")
    # tanh: no bit can gather more than one per image
    if abs(statistic) > span * (1 + 1e-9) or strengths[-1] > images * (1 + 1e-9):
        raise EvidenceError("The statistic T of the keyed finding is larger than it can be.")
    if at_least > decoys or histogram.sum() != decoys or bits_right > bits:
        raise EvidenceError("The counts of the keyed finding contradict each other.")
    _require_likely(at_least, decoys, message_tail(strengths, statistic))
    again = keyed_result(
        strengths,
        statistic,
        at_least=at_least,
        decoys=decoys,
        images=images,
        bits_right=bits_right,
        bit_accuracy=_number(result, "bit_accuracy"),
        histogram=tuple(int(value) for value in histogram),
    )
    return Finding(
        "keyed",
        outcome_of(again.p_value, again.smallest_p, alpha),
        again,
        images,
        decoys,
        tuple(float(value) for value in strengths),
        str(kept.get("features_sha256")),
        str(kept.get("committed_as")),
    )


def _require_likely(at_least: int, decoys: int, tail: float) -> None:
    """The count is binomial around ``decoys * tail``; the counted tail errs by some percent."""
    expected = decoys * tail
    if abs(at_least - expected) > 8 * expected**0.5 + 0.1 * expected + 20:
        raise EvidenceError(
            f"The keyed finding says that {at_least:,} of {decoys:,} decoys reached T; its "
            f"strengths give about {expected:,.0f}."
        )


def _numbers(values: Any, name: str, most: int) -> Any:
    sane = isinstance(values, list) and 1 <= len(values) <= most
    if not sane or any(isinstance(v, bool) or not isinstance(v, int | float) for v in values):
        raise EvidenceError(f"The keyed finding has no readable {name}.")
    return np.asarray(values, dtype=np.float64)


def _number(result: Mapping[str, Any], name: str) -> float:
    value = result.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e30:
        raise EvidenceError(f"The keyed finding has no readable '{name}'.")
    return float(value)


def _count(result: Mapping[str, Any], name: str) -> int:
    value = result.get(name)
    if type(value) is not int or not 0 <= value <= 1e12:
        raise EvidenceError(f"The keyed finding has no readable '{name}'.")
    return value
