"""Verdicts on feature tables: trained, innocent, and sets that differ in themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.feature_pairs import looks, tables, verdict

from siren_ext.errors import Cancelled, ConfigError, ScoreError
from siren_ext.passive.judge import KeyedEvidence, judge
from siren_ext.passive.judge_config import JudgeConfig
from siren_ext.passive.table import FeatureTable
from siren_ext.progress import Progress

EVIDENCE = ("losses", "difference", "plain")


@pytest.mark.parametrize("evidence", ["losses", "difference"])
def test_training_is_found_and_its_share_stated(evidence: str) -> None:
    found = verdict(60, trained=0.3, evidence=evidence)
    assert found.outcome == "training found"
    assert found.comparison.p_value == 1 / 2000
    assert "as a model does that was trained on them" in found.headline
    assert "(chance: 1 in 2,000)" in found.headline
    assert found.share.low > 0.5
    assert "of the published images stand out; with 95% confidence it is" in found.headline
    assert found.warnings == ()


def test_an_innocent_model_is_not_accused() -> None:
    found = [verdict(40, seed=seed) for seed in range(12)]
    assert all(one.outcome != "training found" for one in found)
    assert sum(one.outcome == "no evidence" for one in found) >= 9


def test_differences_from_the_control_need_fewer_images_than_plain_features() -> None:
    """The images' own difficulty hides training from the suspect's features alone."""
    plain, apart = (verdict(40, trained=0.1, evidence=kind) for kind in ("plain", "difference"))
    assert apart.comparison.p_value < plain.comparison.p_value


def test_sets_that_a_clean_model_can_tell_apart_make_it_invalid() -> None:
    found = verdict(60, trained=0.3, unlike=1.5)
    assert found.outcome == "invalid: P and U differ in themselves"
    assert found.comparison.p_value <= 0.001
    assert found.headline.startswith(
        "The published and the unpublished images differ in themselves"
    )
    assert found.warnings[0].startswith("The sets can be told apart by a model that cannot have")
    assert {control.name: control.adjusted <= 0.05 for control in found.controls} == {
        "model": True,
        "looks": False,
    }


def test_sets_that_look_different_make_it_invalid() -> None:
    found = verdict(60, trained=0.3, dark=2.0)
    assert found.outcome == "invalid: P and U differ in themselves"
    assert "by colours, contrast and detail of the images, without any model" in found.warnings[0]


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_exchanged_sets_are_no_evidence(evidence: str) -> None:
    """Published images that the model knows less well than others were not trained on."""
    first, second = tables(60, trained=0.3)
    config = JudgeConfig(evidence=evidence, permutations=199, control_permutations=199)
    found = judge(second, first, looks(60), config)
    assert found.outcome == "inconclusive" or found.outcome == "no evidence"
    assert found.comparison.p_value > 0.5


def test_a_risk_below_the_smallest_p_is_inconclusive() -> None:
    found = verdict(60, trained=0.3, permutations=99, alpha=1e-3)
    assert found.outcome == "inconclusive"
    assert "smallest possible chance is 1 in 100" in found.headline
    assert verdict(60, trained=0.3, mode="default", alpha=1e-6).outcome == "training found"


@pytest.mark.parametrize("evidence", ["losses", "likeness"])
def test_controls_that_can_find_nothing_are_no_guard(evidence: str) -> None:
    """With 19 labellings and two controls no corrected p is below .1."""
    few = {"control_permutations": 19, "evidence": evidence, "permutations": 1999}
    pair = nearness(0.15, control=True) if evidence == "likeness" else tables(60, trained=0.3)
    found = judge(*pair, looks(len(pair[0].values)), JudgeConfig(**few))
    assert found.outcome == "inconclusive"
    assert "smallest possible chance of a control is 10 %, and it would" in found.headline
    assert "Use control_permutations = 39 or more." in found.headline
    enough = JudgeConfig(**few | {"control_permutations": 39})
    assert judge(*pair, looks(len(pair[0].values)), enough).outcome != "inconclusive"


def test_a_risk_of_the_controls_that_lets_everything_pass_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"control_alpha.*0\.01"):
        JudgeConfig(control_alpha=1e-6)


def test_few_images_and_notes_are_warned_of() -> None:
    found = verdict(24, seed=1, trained=0.3, notes=("One format is JPEG.",))
    assert found.warnings[0].startswith("With 24 images per set, the controls find only large")
    assert found.warnings[-1] == "One format is JPEG."


@pytest.mark.parametrize(
    ("keyed", "words"),
    [
        ("coating found", "Its verdict stands whatever the comparison"),
        ("no evidence", "It asks about coated copies only"),
    ],
)
def test_a_keyed_verdict_counts_first_and_both_risks_are_added(keyed: str, words: str) -> None:
    evidence = KeyedEvidence(keyed, 1e-4, 1e-3, "0" * 64)
    found = verdict(60, trained=0.3, keyed=evidence, alpha=1e-3)
    assert found.outcome == "training found"
    assert found.combined.startswith("The keyed test counts first")
    assert words in found.combined
    assert "at most the sum of both risks, 1 in 500, if both reports" in found.combined
    assert verdict(60).combined == ""


def nearness(shift: float, *, control: bool) -> tuple[FeatureTable, FeatureTable]:
    """Distances from a suspect's pictures, smaller by ``shift`` for published images."""
    rng = np.random.default_rng(2)
    made = []
    for side in (0, 1):
        plain = rng.normal(1, 0.1, (40, 2))
        values = plain - shift * (side == 0)
        names = ("patches", "style")
        if control:
            names += ("diff:patches", "diff:style")
            values = np.hstack([values, values - plain + rng.normal(0, 0.02, (40, 2))])
        images = tuple(f"{side} {row}.png" for row in range(40))
        hashes = tuple(f"{1000 * side + row:064x}" for row in range(40))
        made.append(FeatureTable(names, values, images, hashes, {"kind": "likeness"}))
    return made[0], made[1]


@pytest.mark.parametrize("control", [False, True])
def test_pictures_alone_never_accuse(control: bool) -> None:
    config = JudgeConfig(evidence="likeness", permutations=1999, control_permutations=199)
    near, exchanged, same = (
        judge(*tables_, looks(), config)
        for tables_ in (
            nearness(0.15, control=control),
            nearness(0.15, control=control)[::-1],
            nearness(0.0, control=control),
        )
    )
    assert near.outcome == "nearer to the published pictures than to the unpublished ones"
    assert "weak evidence and no accusation" in near.headline
    assert near.columns == (("diff:patches", "diff:style") if control else ("patches", "style"))
    assert [one.name for one in near.controls] == (["model"] if control else []) + ["looks"]
    assert exchanged.outcome == same.outcome == "no nearer to the published pictures"
    assert exchanged.comparison.p_value > 0.5
    assert "no accusation" not in same.headline
    unlike = judge(*nearness(0.15, control=control), looks(unlike=2.0), config)
    assert unlike.outcome == "invalid: P and U differ in themselves"


def test_values_are_plain_and_repeatable() -> None:
    first, second = (verdict(40, trained=0.2).to_dict() for _ in range(2))
    assert json.loads(json.dumps(first)) == json.loads(json.dumps(second))
    assert first["columns"] == [f"diff:loss_{time}" for time in range(0, 1000, 100)]
    assert [control["name"] for control in first["controls"]] == ["model", "looks"]
    assert first["settings"]["evidence"] == "losses"


def test_tables_of_other_measurements_or_without_a_control_are_refused() -> None:
    first, second = tables()
    with pytest.raises(ScoreError, match="measured in different ways"):
        judge(first, second.suspect(), looks())
    with pytest.raises(ScoreError, match="40 of the images are in both feature tables"):
        judge(first, first, looks())
    with pytest.raises(ScoreError, match="no differences; measure it with a control"):
        judge(first.suspect(), second.suspect(), looks(), JudgeConfig(evidence="plain"))
    with pytest.raises(ScoreError, match="no columns for evidence=losses"):
        judge(first.suspect(), second.suspect(), looks())


def test_the_user_can_stop_it() -> None:
    with pytest.raises(Cancelled):
        judge(*tables(), looks(), progress=Progress(cancelled=lambda: True))


def test_honest_sets_are_seldom_invalid() -> None:
    """Two controls at 5 % together; 60 runs allow for three standard errors."""
    invalid = [
        verdict(30, seed=seed, permutations=19, control_permutations=99, alpha=0.5).outcome
        for seed in range(60)
    ]
    assert np.mean([outcome.startswith("invalid") for outcome in invalid]) <= 0.05 + 0.085
