"""The comparison without key samples: closeness of pictures, and an outlier among shadow models."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.experiments.source_provenance import closeness, provenance_rows
from siren_ext.experiments.source_tables import POOLED


def test_closeness_is_the_mean_cosine_of_captions_that_both_answered() -> None:
    one, other, across = np.array([1.0, 0]), np.array([3.0, 0]), np.array([0, 2.0])
    assert closeness([one, one, None, one], [other, across, one, None]) == pytest.approx(0.5)
    with pytest.raises(ScoreError, match="answered no caption in common"):
        closeness([None, one], [one, None])


def test_rows_count_models_that_are_no_outliers() -> None:
    shares = {f"rho_{number}": 1.0 for number in range(5)}
    shares |= {f"half_{number}": 0.5 for number in range(3)}
    shares |= {f"innocent_{number}": 0.0 for number in range(4)}
    level = {1.0: 0.9, 0.5: 0.9, 0.0: 0.1}
    close = {
        name: level[share] + 0.01 * (number % 3)
        for number, (name, share) in enumerate(shares.items())
    }
    few = {name: share for name, share in shares.items() if name not in ("rho_3", "rho_4")}
    sources = {"first": (close, shares), "second": (close, shares), "few": (close, few)}
    rows = provenance_rows(sources, 0.1)
    counted = {
        (row["source"], row["rho"]): row for row in rows if row["metric"] == "counted as trained"
    }
    assert {name for name, _ in counted} == {POOLED, "first", "second"}
    assert [counted["first", rho]["value"] for rho in (1.0, 0.5, 0.0)] == [1, 1, 0]
    assert [counted[POOLED, rho]["models"] for rho in (1.0, 0.5, 0.0)] == [10, 6, 8]
    assert counted[POOLED, 0.0]["high"] > 0.3  # eight models can't show that none is counted
    auc = [row for row in rows if row["metric"] == "closeness auc"]
    assert [(row["source"], row["value"]) for row in auc] == [("first", 1), ("second", 1)]
