"""The figures of the preference study, and their table."""

from __future__ import annotations

import numpy as np
import pytest
from support.keyed_coating import BITS

from siren_ext.errors import ConfigError
from siren_ext.experiments.preference_tables import figures, markdown
from siren_ext.experiments.study import experiment_key
from siren_ext.scoring.score_set import ScoreSet

MESSAGE = experiment_key(0, BITS).signs()


def measured(strength: float) -> ScoreSet:
    rng = np.random.default_rng(2)
    features = strength * MESSAGE + rng.normal(size=(40, BITS))
    return ScoreSet(np.zeros(40), ("x",) * 40, ("",) * 40, "coater", features=features)


def test_figures_of_known_preferences() -> None:
    found, clean = figures(measured(1.0), MESSAGE), figures(measured(0.0), MESSAGE)
    assert found["p"] < 1e-4
    assert found["z"] > 3.5
    assert found["bits_right"] == BITS
    assert clean["p"] > 0.01
    for one in (found, clean):  # 1,000 other keys: three standard errors
        assert one["others_05"] == pytest.approx(0.05, abs=0.021)
        assert one["others_01"] == pytest.approx(0.01, abs=0.0095)
    bare = ScoreSet(np.zeros(1), ("x",), ("",), "coater")
    with pytest.raises(ConfigError, match="no features"):
        figures(bare, MESSAGE)


def test_the_table_has_a_row_per_case_and_a_column_per_control() -> None:
    known = {"reading": "removed", "others_05": 0.1, "others_01": 0.02}
    rows = [
        {"case": case, "control": control, "p": p} | known
        for case, control, p in (
            ("clean", "none", 0.5),
            ("clean", "none", 0.25),
            ("coated", "none", 3.21e-9),
            ("clean", "clean", 0.125),
            ("coated", "clean", 1e-9),
        )
    ]
    lines = markdown(rows)
    assert lines[0] == "| trained on | control: none | control: clean |"
    assert lines[2:4] == ["| clean | 0.5, 0.25 | 0.12 |", "| all coated | 3.2e-09 | 1e-09 |"]
    assert lines[-1] == (
        "1,000 other keys, 5 measurements: p up to .05 for 10.0 % (at most 10.0 % in one), up to "
        ".01 for 2.0 % (at most 2.0 %)."
    )
    both = markdown([*rows, rows[0] | {"reading": "whole", "others_05": 0.22}])
    assert both[0].endswith("| control: clean, removed patterns | control: none, whole patterns |")
    assert both[2] == "| clean | 0.5, 0.25 | 0.12 | 0.5 |"
    field = markdown([row | {"p_field": row["p"] / 10} for row in rows[:3]])
    assert field[0] == "| trained on | control: none | control: none, whole changes |"
    assert field[2] == "| clean | 0.5, 0.25 | 0.05, 0.025 |"
    assert "6 measurements: p up to .05 for 12.0 % (at most 22.0 % in one)" in both[-1]
