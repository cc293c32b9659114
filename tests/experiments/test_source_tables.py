"""Figures of the study of source attribution."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.experiments.source_tables import (
    band_rows,
    confidence_rows,
    judge_all,
    mean_interval,
    number_rows,
    score_rows,
    told,
)

NEAR, FAR = 0.08, 0.18


def world(hits: dict[str, int], keys: int = 20) -> dict[str, np.ndarray]:
    return {name: np.array([NEAR] * count + [FAR] * (keys - count)) for name, count in hits.items()}


SHARES = {"a": 1.0, "b": 1.0, "c": 0.5, "x": 0.0, "y": 0.0, "z": 0.0}
HITS = {"a": 20, "b": 18, "c": 10, "x": 1, "y": 0, "z": 0}


def test_every_model_is_judged_by_the_others() -> None:
    judged = {one.name: one for one in judge_all(world(HITS), SHARES, 0.01)}
    assert list(judged) == list(HITS)
    assert {name: one.hits for name, one in judged.items()} == HITS
    assert all(one.delta == 0.08 for one in judged.values())
    assert judged["a"].best == 1
    assert judged["x"].best == 0
    assert judged["a"].accused(1e-3, 0.3)
    assert not judged["x"].accused(1e-3, 0.3)
    # a model does not choose its own threshold: without the only far one there is no other edge
    odd = world(HITS) | {"x": np.full(20, 0.02)}
    assert {one.name: one for one in judge_all(odd, SHARES, 0.01)}["x"].delta == 0.08
    with pytest.raises(ScoreError, match="There are 1 infringing and 2 innocent models"):
        judge_all(world({"a": 1, "x": 0, "y": 0}), {"a": 1, "x": 0, "y": 0}, 0.01)


def test_rows_of_confidence_fall_with_rho() -> None:
    rows = confidence_rows("detection", judge_all(world(HITS), SHARES, 0.01), 1e-3, 0.3)
    conf = {row["rho"]: row for row in rows if row["metric"] == "conf"}
    assert [conf[share]["value"] for share in (1.0, 0.5, 0.0)] == [0.95, 0.5, round(1 / 60, 4)]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    accused = {row["rho"]: row["value"] for row in rows if row["metric"] == "accused"}
    assert accused == {1.0: 1.0, 0.5: 1.0, 0.0: 0.0}
    assert told(conf[0.5]).startswith("conf (detection, rho 0.5): 0.50 (")


def test_an_interval_covers_models_and_key_samples() -> None:
    judged = judge_all(world(HITS), SHARES, 0.01)
    value, low, high = mean_interval([one for one in judged if one.name == "c"])
    assert value == 0.5
    assert low == pytest.approx(0.3, abs=0.06)
    assert high == pytest.approx(0.7, abs=0.06)


def test_rows_of_scores() -> None:
    known, innocent = np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.2, 0.3])
    rows = {row["metric"]: row for row in score_rows("conf", "random", known, innocent, 0.1)}
    assert {name: row["value"] for name, row in rows.items()} == {
        "conf accuracy": 1,
        "conf auc": 1,
        "conf tpr": 1,
    }
    assert told(rows["conf auc"]) == "conf auc (random): 1.00 (1.00 to 1.00), 6 models"


def test_bands_add_up_and_the_number_of_key_samples_is_varied() -> None:
    judged = judge_all(world(HITS), SHARES, 0.01)
    rows = [row for row in band_rows("detection", judged) if row["rho"] == 1.0]
    assert sum(row["value"] for row in rows) == pytest.approx(1)
    assert {row["metric"]: row["value"] for row in rows}["distance from 0.05"] == 0.95
    gaps = {row["metric"]: row["value"] for row in number_rows("detection", judged, [5, 20])}
    assert gaps["gap at N = 5"] == pytest.approx(1 - 1 / 15, abs=1e-3)
    assert gaps["gap at N = 20"] == pytest.approx(0.8 - 1 / 60, abs=1e-3)
