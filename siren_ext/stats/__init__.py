"""Tests on scores: how surprising are the suspect's scores if it never saw the coating?"""

from __future__ import annotations

from siren_ext.stats.ks import (
    PAPER_ALPHAS,
    KsResult,
    ResampleResult,
    ks_less,
    ks_two_sided,
    resampled_ks,
)

__all__ = [
    "PAPER_ALPHAS",
    "KsResult",
    "ResampleResult",
    "ks_less",
    "ks_two_sided",
    "resampled_ks",
]
