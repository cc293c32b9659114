"""The panel's statistics on known cases."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.score_sets import pool

from siren_ext.experiments.panel_results import evaluate_panel, plot_panel, summarise_panel
from siren_ext.experiments.panel_roster import PanelConfig, Panelist
from siren_ext.scoring.score_set import ScoreSet

BITS = 16


def known_panel() -> tuple[list[Panelist], dict[Any, ScoreSet], np.ndarray]:
    """Innocents of another style, which lowers their scores and shifts their features alike."""
    rng = np.random.default_rng(3)
    message = rng.integers(0, 2, BITS) * 2 - 1
    models = [
        Panelist("reference", "reference", "own", 0),
        Panelist("base_reference", "reference", "", 1),
    ]
    models += [Panelist(f"clean_{i}", "own set, clean", "own", 2 + i) for i in range(6)]
    models += [Panelist(f"other_{i}", "other set", "s", 10 + i) for i in range(6)]
    models += [
        Panelist(f"keyed_{i}", "guilty", "own", 20 + i, coating="keyed", share=share)
        for i, share in enumerate((1.0, 0.5))
    ]
    models += [
        Panelist(f"unkeyed_{i}", "guilty", "own", 30 + i, coating="unkeyed", share=share)
        for i, share in enumerate((1.0, 0.5))
    ]
    scores: dict[Any, ScoreSet] = {}
    for model in models:
        low = -2.0 * (model.coating == "unkeyed") - 0.7 * (model.kind == "other set")
        low += 0.7 * (model.name == "base_reference")
        style = rng.normal(0, 3, BITS) * (model.kind == "other set")
        signal = 1.0 * (model.coating == "keyed")
        scores[model.name, "unkeyed"] = pool(rng.normal(low, 1, 120), hashed=False)
        features = rng.normal(0, 3, (120, BITS)) + style + signal * message
        scores[model.name, "keyed"] = pool(np.ones(120), hashed=False, features=features)
    return models, scores, message


def test_mismatched_ks_accuses_innocents_and_the_keyed_test_does_not() -> None:
    models, scores, message = known_panel()
    config = PanelConfig(images=120, sizes=(20, 120), keys=100)
    rows = evaluate_panel(models, scores, message, config)
    assert len(rows) == 2 * 16
    table = {(row["test"], row["n"], row["group"]): row for row in summarise_panel(rows)}

    def share(test: str, n: int, group: str, level: str = "at_0.01") -> float:
        return next(
            v[level] for k, v in table.items() if k[0].startswith(test) and k[1:] == (n, group)
        )

    assert share("KS, mismatched", 120, "innocent") > 0.9
    assert share("KS, mismatched", 20, "innocent") < share("KS, mismatched", 120, "innocent")
    assert share("KS of the whole", 120, "innocent") == 0.5, "those of another style"
    assert 0 < share("KS, matched", 120, "innocent") <= 0.5
    assert share("keyed", 120, "innocent") == 0
    assert share("keyed", 120, "guilty, 100 %", "at_0.001") == 1
    assert share("keyed", 120, "other coating") == 0
    assert share("KS, matched", 120, "guilty, 50 %") == 1
    assert share("keyed", 120, "other keys") < 0.03, "another key catches nobody"
    assert table[("keyed test", 120, "other keys")]["models"] == 16
    clean = next(row for row in rows if row["model"] == "clean_0" and row["n"] == 120)
    assert clean["p_rank"] > 1 / 12
    guilty = next(row for row in rows if row["model"] == "unkeyed_0" and row["n"] == 120)
    assert guilty["p_rank"] == pytest.approx(1 / 13)


def test_the_verdict_spares_models_of_another_style() -> None:
    models, scores, message = known_panel()
    rng = np.random.default_rng(8)
    for model in models:
        looks = rng.normal(0, 1, (120, 8)) + 4.0 * (model.kind == "other set")
        known = scores[model.name, "unkeyed"]
        scores[model.name, "unkeyed"] = dataclasses.replace(known, looks=looks)
    config = PanelConfig(images=120, sizes=(20, 120), keys=2)
    rows = [row for row in evaluate_panel(models, scores, message, config) if row["n"] == 120]
    for row in rows:
        strange = row["kind"] == "other set"
        assert row["p_verdict"] == (1.0 if strange else row["p_ks_matched"])
        assert (row["looks_apart"] > 0.9) == strange
    table = {(row["test"], row["group"]): row for row in summarise_panel(rows)}
    verdict = "verdict against the matched reference"
    assert (
        table[verdict, "innocent"]["at_0.01"]
        < table["KS, matched clean reference", "innocent"]["at_0.01"]
    )
    assert table[verdict, "guilty, 100 %"]["at_0.001"] == 1
    # scores of another day, which do not tell how their pictures look
    blind = {key: dataclasses.replace(known, looks=None) for key, known in scores.items()}
    rows = [row for row in evaluate_panel(models, blind, message, config) if row["n"] == 120]
    assert all(row.get("p_verdict", row["p_ks_matched"]) == row["p_ks_matched"] for row in rows)
    assert {"p_verdict" in row for row in rows if row["p_ks_matched"] > 0.05} == {True}
    assert {"p_verdict" in row for row in rows if row["p_ks_matched"] <= 0.05} == {False}


def test_a_panel_in_progress_has_rows_for_what_is_there(tmp_path: Path) -> None:
    models, scores, message = known_panel()
    config = PanelConfig(images=120, sizes=(20,), keys=5)
    some = {key: value for key, value in scores.items() if key[0] in ("clean_0", "clean_1")}
    rows = evaluate_panel(models, some, message, config)
    assert [row["model"] for row in rows] == ["clean_0", "clean_1"]
    assert "p_ks_matched" not in rows[0]
    assert rows[0]["p_rank"] in (0.5, 1.0)
    plot_panel(rows, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert min(picture.size) > 200
