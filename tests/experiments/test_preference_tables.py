"""The figures of the preference study, and their table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.keyed_coating import BITS, SHAPE

from siren_ext.coater.coater import Coater
from siren_ext.errors import ConfigError
from siren_ext.experiments.preference_tables import figures, markdown
from siren_ext.experiments.study import experiment_key
from siren_ext.preference.changes import MeanField
from siren_ext.preference.small import IMAGES, changes_by
from siren_ext.scoring.score_set import FIELD, ScoreSet

ALONE = ", bits alone"
MESSAGE = experiment_key(0, BITS).signs()


def measured(strength: float) -> ScoreSet:
    rng = np.random.default_rng(2)
    features = strength * MESSAGE + rng.normal(size=(40, BITS))
    return ScoreSet(np.zeros(40), ("x",) * 40, ("",) * 40, "coater", features=features)


def test_figures_of_known_preferences() -> None:
    coater = Coater(SHAPE)
    found, clean = (figures(measured(one), coater, MESSAGE) for one in (1.0, 0.0))
    assert found["p"] < 1e-4
    assert found["z"] > 3.5
    assert found["bits_right"] == BITS
    assert clean["p"] > 0.01
    for one in (found, clean):  # 1,000 other keys: three standard errors
        assert one["others_05"] == pytest.approx(0.05, abs=0.021)
        assert one["others_01"] == pytest.approx(0.01, abs=0.0095)
        assert (one["p"], one["others_05"]) == (one["bits_p"], one["bits_others_05"])
    # each measurement has other keys of its own
    assert (
        len({figures(measured(one), coater, MESSAGE)["others_05"] for one in (0, 0.01, 0.02)}) > 1
    )
    bare = ScoreSet(np.zeros(1), ("x",), ("",), "coater")
    with pytest.raises(ConfigError, match="no features"):
        figures(bare, coater, MESSAGE)


@pytest.mark.usefixtures("few_messages")
def test_a_learnt_field_decides_with_the_bits() -> None:
    coater = Coater(replace(SHAPE, coarse=2.0, min_psnr=38.0), seed=1)
    images = np.random.default_rng(3).integers(0, 256, (IMAGES, 3, 32, 32), dtype=np.uint8)
    changes = next(changes_by(images, coater, MESSAGE[None].copy())).mean((0, 1)).numpy()
    source = {
        "kind": "preference",
        "settings": {"whole": True},
        FIELD: MeanField(changes, images).to_plain(),
    }
    hashes = tuple(f"{row:064x}" for row in range(40))
    scores = replace(measured(0.15), source=source, coater=coater.fingerprint, hashes=hashes)
    found = figures(scores, coater, MESSAGE, [0.0, 1.0])
    assert found["p"] < found["bits_p"] / 5
    assert found["p_weight_0"] != found["p"] != found["p_weight_1"]
    assert found["others_05"] == pytest.approx(0.05, abs=0.03)
    assert found["others_01"] == pytest.approx(0.01, abs=0.0125)
    assert found["bits_others_05"] == pytest.approx(0.05, abs=0.021)


def test_the_table_has_a_row_per_case_and_a_column_per_control() -> None:
    known = {"reading": "removed", "others_05": 0.1, "others_01": 0.02}
    rows = [
        {"case": case, "control": control, "p": p, "bits_p": p} | known
        for case, control, p in (
            ("clean", "none", 0.5),
            ("clean", "none", 0.25),
            ("coated", "none", 3.21e-9),
            ("clean", "clean", 0.125),
            ("coated", "clean", 1e-9),
        )
    ]
    lines = markdown(rows)
    titles = [f"control: {name}{more}" for name in ("none", "clean") for more in ("", ALONE)]
    assert lines[0] == f"| trained on | {' | '.join(titles)} |"
    assert lines[2:4] == [
        "| clean | 0.5, 0.25 | 0.5, 0.25 | 0.12 | 0.12 |",
        "| all coated | 3.2e-09 | 3.2e-09 | 1e-09 | 1e-09 |",
    ]
    assert lines[-1] == (
        "1,000 other keys for each of 5 measurements: p up to .05 for 10.0 % (at most 10.0 %), up "
        "to .01 for 2.0 % (at most 2.0 %)."
    )
    both = markdown([*rows, rows[0] | {"reading": "whole", "others_05": 0.22}])
    last = ", removed patterns, bits alone | control: none, whole patterns | control: none, whole"
    assert both[0].endswith(f"{last} patterns, bits alone |")
    assert both[2] == "| clean | 0.5, 0.25 | 0.5, 0.25 | 0.12 | 0.12 | 0.5 | 0.5 |"
    tried = markdown([row | {"p_weight_0.5": row["p"] / 10} for row in rows[:3]])
    assert tried[0].endswith("| control: none, bits alone | control: none, weight 0.5 |")
    assert tried[2] == "| clean | 0.5, 0.25 | 0.5, 0.25 | 0.05, 0.025 |"
    assert "6 measurements: p up to .05 for 12.0 % (at most 22.0 %)" in both[-1]
