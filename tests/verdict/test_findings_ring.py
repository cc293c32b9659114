"""Naming one recipient of a ring: the best of many keys of an innocent model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.evidence_samples import SIGNS, known_key
from support.score_sets import drawn

from siren_ext.evidence.ledger import Count, priced
from siren_ext.evidence.precedence import not_committed
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import keyed_finding
from siren_ext.verdict.verify import verify

RING, MODELS, ALPHA = 50, 120, 0.05


def test_the_page_shows_the_price(tmp_path: Path) -> None:
    suspect = drawn(5, lean=SIGNS)
    for price in (1, 100):
        verdict = verify(suspect, config=VerifyConfig(price=price), key=known_key())
        page = write_report(verdict, suspect, None, tmp_path / str(price)).html.read_text("utf-8")
        assert ("<th>p times 100</th>" in page) is (price == 100)
        assert check_report(tmp_path / str(price)).sound


def test_the_best_of_fifty_recipients_is_rarely_named() -> None:
    """Without the price, .92 of innocent models named somebody at .05."""
    count = Count(number=1, whole=True, text="", head="")
    standing, price = priced(not_committed(keyed=True), count, RING)
    assert (standing.keys, price) == (RING, 2 * RING)
    assert f"holds {RING} keys, and p is multiplied" in standing.text
    rng = np.random.default_rng(4)
    named = {1: 0, RING: 0}
    for model in range(MODELS):
        suspect = drawn(5, 10, seed=model, style=2.0, control=None)
        keys = [CoatingKey(rng.integers(0, 2, 48) * 2 - 1) for _ in range(RING)]
        for factor in named:
            found = (keyed_finding(suspect, key, ALPHA, price=factor).outcome for key in keys)
            named[factor] += "coating found" in found
    assert named[1] / MODELS > 0.85, "the best of many keys is not a test of one"
    error = (ALPHA * (1 - ALPHA) / MODELS) ** 0.5
    assert named[RING] / MODELS <= ALPHA + 3 * error
