"""Several reference models: pictures are compared with all, and the suspect with the models."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.reports import resealed, states, texts
from support.score_sets import drawn

from siren_ext.errors import ScoreError
from siren_ext.panels.html import verdict_card
from siren_ext.panels.recheck import recheck_step
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.findings import Finding
from siren_ext.verdict.models import joined_models, models_finding, models_of
from siren_ext.verdict.outcomes import LOWER, LOWER_RANK, NO_DIFFERENCE
from siren_ext.verdict.verify import verify

MEANS = (10.0, 10.4, 9.7, 10.2)
RISK = VerifyConfig(alpha=0.01)


def model(mean: float, seed: int, n: int = 60) -> ScoreSet:
    return drawn(mean, n, seed=seed, features=None)


@pytest.fixture(scope="module")
def reference() -> ScoreSet:
    joined = joined_models([model(mean, seed) for seed, mean in enumerate(MEANS, start=1)])
    assert joined is not None
    return joined


def by_test(findings: Any) -> dict[str, Finding]:
    return {one.test: one for one in findings}


def test_models_are_joined_and_found_again(reference: ScoreSet, tmp_path: Path) -> None:
    assert len(reference) == 240
    assert reference.names[60] == "model 2/00000.png"
    reference.save(tmp_path / "joined.json")
    parts = models_of(ScoreSet.load(tmp_path / "joined.json"))
    for seed, (mean, part) in enumerate(zip(MEANS, parts, strict=True), start=1):
        np.testing.assert_array_equal(part.scores, model(mean, seed).scores)
        assert part.source == model(mean, seed).source
    one = model(10, 1)
    assert joined_models([one]) is one
    assert joined_models([]) is None
    assert models_of(one) == []


def test_the_first_images_of_each_represent_it(reference: ScoreSet) -> None:
    found = models_finding(model(9, 9, 40), reference, 0.01)
    assert found is not None
    assert (found.suspects, found.others) == (40, 4)
    own = model(9, 9, 40).scores.mean()
    means = [model(mean, seed).scores[:40].mean() for seed, mean in enumerate(MEANS, start=1)]
    t = (own - np.mean(means)) / (np.std(means, ddof=1) * np.sqrt(1.25))
    assert found.result.statistic == pytest.approx(t)
    two = joined_models([model(10, 1), model(10.4, 2)])
    assert two is not None
    assert models_finding(model(9, 9), two, 0.01) is None


def test_one_more_clean_model_is_not_accused_by_many_pictures(reference: ScoreSet) -> None:
    """Its pictures differ from those of the others, but no more than these among themselves."""
    verdict = verify(model(9.4, 9, 600), reference, RISK)
    found = by_test(verdict.findings)
    assert found["ks"].outcome == LOWER
    assert found["models"].outcome == verdict.outcome == NO_DIFFERENCE
    assert verdict.test == "models"
    assert "If the model were one more clean model" in verdict.headline
    guilty = verify(model(5, 9), reference, RISK)
    assert guilty.outcome == LOWER_RANK
    assert "by more than these differ among themselves" in guilty.headline
    assert "Only the keyed test shows" in guilty.headline


def test_the_page_shows_both_and_a_check_recomputes_them(
    reference: ScoreSet, tmp_path: Path
) -> None:
    own = model(5, 9)
    verdict = verify(own, reference, RISK)
    write_report(verdict, own, reference, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Is it one more clean model?" in page
    assert "prediction t-test, 3 degrees of freedom" in page
    assert "normally distributed (prediction t-test)" in verdict_card(verdict)
    found = check_report(tmp_path)
    assert found.sound
    assert {states(found)[name] for name in ("figures", "verdict", "page")} == {"matches"}
    assert recheck_step(tmp_path / "report.json").verdict.outcome == LOWER_RANK

    before = (tmp_path / "report.json").read_text()

    def other_p(data: dict[str, Any]) -> None:
        data["verdict"]["findings"][0]["p_value"] = 1e-9

    def other_models(data: dict[str, Any]) -> None:
        data["reference"]["source"]["images"] = [60, 60, 120]

    for change, words in ((other_p, "models finding.p_value"), (other_models, "do not say which")):
        (tmp_path / "report.json").write_text(before)
        assert words in texts(resealed(tmp_path, change))["figures"]


def test_a_model_counts_once(reference: ScoreSet) -> None:
    same = [model(10, 1), model(10.4, 2), model(10, 1)]
    with pytest.raises(ScoreError, match="Reference models 1 and 3 are the same images"):
        joined_models(same)
    forged = dataclasses.replace(ScoreSet.concat(same), source=dict(reference.source))
    with pytest.raises(ScoreError, match="do not say which images belong to which"):
        models_of(forged)
    source = reference.source | {"images": [60] * 3, "parts": [{}] * 3}
    with pytest.raises(ScoreError, match="Reference models 1 and 3 are the same images"):
        verify(model(5, 9), dataclasses.replace(forged, source=source), RISK)
