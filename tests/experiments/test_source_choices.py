"""Ways of asking are compared on models of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.toy_source import SIDE, toy_study

from siren_ext.attribution.distances import l2
from siren_ext.attribution.key_queries import Asking
from siren_ext.attribution.source_config import SourceConfig
from siren_ext.experiments import source_choices
from siren_ext.experiments.source_choices import choice_rows, separation
from siren_ext.experiments.source_models import Length

MODELS = ("trial_first_rho100_0", "trial_first_rho100_1", "trial_innocent_0", "trial_innocent_1")
SMALL = Length(
    ("first",), 2, 2, source_steps=1, steps=1, source_batch=1, batch=1, images=6, shares=(1.0,)
)


def test_every_way_has_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_choices, "DISTANCES", ("l2", "l2_tiled"))
    models = replace(toy_study(tmp_path, monkeypatch, SMALL, "first"), trial=True)
    config = SourceConfig(keys=4, band=0.01)
    asking = Asking(config, "img2img", l2, SIDE, tmp_path / "answers")
    rows = choice_rows(models, config, asking)
    ways = {(row["strength"], row["distance"], row["repeats"]) for row in rows}
    assert len(rows) == len(ways) == 3 * 2 * 2
    assert all(row["auc"] == 1 and row["gap"] == 1 for row in rows)  # learnt by heart
    assert {file.name for file in (models.out / "sets").iterdir()} == set(MODELS)


def test_separation_counts_pairs_of_the_same_key_sample() -> None:
    rng = np.random.default_rng(0)
    hard = np.linspace(0.1, 1, 6)[:, None]  # key samples differ more than models do
    near = {
        name: hard + (0.0 if "rho100" in name else 0.05) + 0.001 * rng.random((6, 2))
        for name in MODELS
    }
    near["source"] = hard[::-1] + np.zeros((6, 2))
    found = separation(near, 2, 4, 0.01)
    assert found["auc"] == found["low"] == 1
    assert found["pooled_auc"] < 0.7  # one threshold for all key samples tells less
    places = dict(zip(MODELS, (*MODELS[2:], *MODELS[:2]), strict=True))
    swapped = {"source": near["source"]} | {name: near[place] for name, place in places.items()}
    assert separation(swapped, 2, 4, 0.01)["auc"] == 0


def test_key_samples_are_those_that_the_source_reproduces_best() -> None:
    tables = {name: np.ones((4, 2)) for name in ("source", *MODELS)}
    tables["source"][2:] = 0.1
    for name in MODELS[:2]:
        tables[name][2:, 1] = 0.1  # only the second answer is near
    one, two = (separation(tables, repeats, 2, 0.01) for repeats in (1, 2))
    assert (one["auc"], one["gap"]) == (0.5, 0)
    assert (two["auc"], two["gap"], two["delta"]) == (1, 1, 0.1)
