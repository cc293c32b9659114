"""Figures of the passive study on made-up features of known effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siren_ext.experiments import passive_results
from siren_ext.experiments.passive_results import (
    RULES,
    SHARES,
    Rule,
    cases,
    evaluate,
    modes,
    plot_power,
    single_images,
    summarise,
    trained_rows,
)
from siren_ext.passive.config import DIFFERENCE, FAMILIES, columns_of
from siren_ext.passive.table import FeatureTable

OWN = columns_of(tuple(FAMILIES))
NAMES = OWN + tuple(DIFFERENCE + name for name in OWN)


def table(kind: str, effect: float, *, count: int = 150, trained: int = 50) -> FeatureTable:
    """Features of ``count`` images; those of training images are smaller by ``effect``."""
    rng = np.random.default_rng(place := (1 if kind == "guilty" else 2))
    values = rng.normal(size=(count, len(NAMES)))
    values[:trained] -= effect
    hashes = tuple(f"{number:064x}" for number in range(count))
    study: dict[str, Any] = {"kind": kind, "images": trained, "steps": 200, "rank": 8}
    study |= {"asked": 0, "taught": 0, "place": place, "trained": list(hashes[:trained])}
    return FeatureTable(
        NAMES, values, tuple(f"{n}.png" for n in range(count)), hashes, {"study": study}
    )


def test_shares_are_exact_and_sets_apart() -> None:
    guilty = table("guilty", 1.0)
    used = trained_rows(guilty)
    found = list(cases(guilty, 2))
    assert {case.n for case in found} == {20, 50}  # there are not enough images for 100
    assert {case.share for case in found} == set(SHARES)
    for case in found:
        assert len(case.published) == len(case.unpublished) == case.n
        assert not set(case.published) & set(case.unpublished)
        assert used[case.published].sum() == round(case.share * case.n)
        assert not used[case.unpublished].any()
    first, second = (case.published for case in found[:2])
    assert first != second
    innocent = list(cases(table("innocent", 1.0), 1))
    assert [(case.n, case.share) for case in innocent] == [(20, 0.0), (50, 0.0)]
    assert not used[innocent[0].published + innocent[0].unpublished].any()


def test_guilty_models_are_found_and_innocent_ones_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tuple(rule for rule in RULES if rule.name in ("losses, difference", "CDI, grey box"))
    monkeypatch.setattr(passive_results, "RULES", kept)
    monkeypatch.setattr(passive_results, "PERMUTATIONS", 1999)
    monkeypatch.setattr(passive_results, "PERMUTATIONS_LEARNT", 19)
    tables = {"a": table("guilty", 1.0), "b": table("innocent", 1.0)}
    rows = [row for name in tables for row in evaluate(name, tables[name], draws=1, seed=0)]
    summary = summarise(rows)
    cell = {(row["kind"], row["rule"], row["mode"], row["n"], row["share"]): row for row in summary}
    assert cell["guilty", "losses, difference", "permutation", 50, 1.0]["at_0.001"] == 1
    assert cell["guilty", "losses, difference", "default", 50, 1.0]["median_p"] < 1e-6
    assert cell["guilty", "CDI, grey box", "default", 50, 1.0]["at_0.05"] == 1
    by_share = [
        cell["guilty", "losses, difference", "default", 50, share]["median_p"] for share in SHARES
    ]
    assert by_share[3] < by_share[2] < min(by_share[:2])  # with a tenth it is chance
    assert cell["innocent", "losses, difference", "permutation", 20, 0.0]["at_0.01"] == 0
    assert ("innocent", "CDI, grey box", "official", 20, 0.0) in cell
    plot_power(summary, tmp_path / "power.png")
    assert (tmp_path / "power.png").stat().st_size > 1000


def test_rules_name_columns_that_exist() -> None:
    assert all(set(rule.columns) <= set(NAMES) for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert modes(Rule("x", ("secmi",), "mean"), "guilty") == ("permutation", "default")
    assert modes(Rule("x", ("secmi",)), "guilty") == ("default",)


def test_single_images_at_one_percent() -> None:
    rows = single_images(
        {"a": table("guilty", 6.0, count=400), "b": table("innocent", 6.0, count=400)}
    )
    assert len(rows) == 10
    assert all(row["models"] == 1 and row["mean_tpr"] > 0.9 for row in rows)
    blind = single_images({"a": table("guilty", 0.0, count=1000, trained=500)})
    assert all(row["largest_tpr"] < 0.04 for row in blind)
    assert single_images({"a": table("guilty", 1.0, count=140)}) == []
