"""The verdict: outcomes, words, warnings and the rate of false accusation."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from support import score_sets
from support.score_sets import normal

from siren_ext.errors import ScoreError
from siren_ext.verdict.caveats import images_needed
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.outcomes import LOWER, NO_DIFFERENCE, NOT_COMPARABLE
from siren_ext.verdict.verify import Verdict, verify
from siren_ext.verdict.wording import odds

PLAN = {"provenance": {"prompts": ["a dog"], "steps": 20, "guidance": 3.0}}


def pool(scores, start=0, **changes):
    """A pool whose source and looks cause no warning."""
    return score_sets.pool(
        scores, start, **{"source": PLAN, "looks": np.zeros((len(scores), 8))} | changes
    )


@pytest.fixture
def reference():
    return pool(normal(10, 120, 0), 10_000)


def test_a_guilty_model_scores_lower_which_alone_accuses_nobody(reference):
    verdict = verify(pool(normal(5, 40, 1)), reference)
    assert verdict.outcome == LOWER
    assert verdict.finding.p_value <= verdict.alpha == 1e-6
    assert (verdict.finding.n, verdict.finding.m) == (40, 120)
    assert "score lower than this reference's" in verdict.headline
    assert "does not show why they differ" in verdict.headline
    assert "coating was found" not in verdict.headline.removesuffix(
        "Only the keyed test shows that your coating was found."
    )
    assert odds(verdict.finding.p_value).removeprefix("1 in ") in verdict.headline
    assert verdict.warnings == ()
    assert any("who owns" in line for line in verdict.does_not_prove)
    assert any("style" in line for line in verdict.does_not_prove)


@pytest.mark.parametrize("mean", [10, 14])
def test_an_innocent_model_is_not(reference, mean):
    """Also one that scores *higher* than the reference, however clearly."""
    verdict = verify(pool(normal(mean, 40, 2)), reference)
    assert verdict.outcome == NO_DIFFERENCE
    start = (
        "No convincing difference" if mean == 10 else "The suspicious model's images don't score"
    )
    assert verdict.headline.startswith(start)


def test_two_sided_counts_both_directions(reference):
    config = VerifyConfig(two_sided=True)
    verdict = verify(pool(normal(14, 40, 2)), reference, config)
    assert verdict.outcome == NOT_COMPARABLE
    assert "higher than the reference's, which a coating can't cause" in verdict.headline
    assert verify(pool(normal(5, 40, 1)), reference, config).outcome == LOWER
    assert any("two-sided" in w for w in verdict.warnings)


def test_too_few_images_are_inconclusive_even_if_perfect():
    verdict = verify(pool([0.0, 0.1, 0.2]), pool(np.arange(5, 30.0), 100))
    assert verdict.finding.statistic == 1
    assert verdict.outcome == "inconclusive"
    assert "too few images" in verdict.headline
    needed = images_needed(1e-6, 25)
    assert any(f"At least {needed} suspect images" in w for w in verdict.warnings)
    assert 1 / math.comb(25 + needed, needed) <= 1e-6 < 1 / math.comb(24 + needed, needed - 1)


def test_the_level_may_be_met_exactly():
    """p equal to alpha rejects, and then alpha is not called unreachable."""
    p = 1 / math.comb(45, 15)
    args = pool(np.arange(15.0)), pool(np.arange(30.0) + 50, 100)
    assert verify(*args, VerifyConfig(alpha=p * (1 + 1e-12))).outcome == LOWER
    assert verify(*args, VerifyConfig(alpha=p * (1 - 1e-9))).outcome == "inconclusive"


def test_pools_of_different_coaters_are_refused(reference):
    with pytest.raises(ScoreError, match="different coaters"):
        verify(pool(normal(5, 40, 1), coater="d" * 64), reference)


def test_a_pool_is_not_compared_with_itself(reference):
    verdict = verify(reference, reference)
    assert verdict.outcome == NOT_COMPARABLE
    assert "same images" in verdict.headline
    assert "Suspect and reference pools are identical." in verdict.warnings
    blank = pool(reference.scores, hashes=("",) * 120)
    assert verify(blank, reference).outcome == NOT_COMPARABLE


def test_copies_are_no_evidence(reference):
    """One lucky low image, submitted forty times, stays one observation."""
    copied = pool([0.0] * 40, hashes=("a" * 64,) * 40)
    verdict = verify(copied, reference)
    assert verdict.finding.n == 1
    assert verdict.outcome == "inconclusive"
    assert any(
        "Of the 40 suspect images, 39 are exact copies of others" in w for w in verdict.warnings
    )


@pytest.mark.parametrize(
    ("suspect", "other", "words"),
    [
        (pool(normal(5, 29, 1)), None, "Only 29 suspect images"),
        (pool(normal(5, 40, 1)), pool(normal(10, 99, 2), 500), "Only 99 reference images"),
        (pool(np.round(normal(5, 40, 1), 1)), None, "scores occur more than once"),
        (pool(normal(5, 40, 1), failures=(("x", "y"),)), None, "1 suspect image could not"),
        (pool(normal(5, 40, 1), 9_990), None, "30 images are in both pools"),
        (pool(normal(5, 40, 1), source={}), None, "prompts are not recorded"),
        (
            pool(normal(5, 40, 1), source={"prompts": ["a dog"], "provenance_error": "x"}),
            None,
            "provenance file of the suspect images can't be read",
        ),
        (
            pool(normal(5, 40, 1), source={"plan": PLAN["provenance"] | {"prompts": ["a cat"]}}),
            None,
            "different prompts",
        ),
        (
            pool(normal(5, 40, 1), source={"plan": PLAN["provenance"] | {"steps": 50}}),
            None,
            r"differ in number of steps \(50 and 20\)",
        ),
    ],
)
def test_warnings(reference, suspect, other, words):
    verdict = verify(suspect, other or reference)
    assert len(verdict.warnings) == 1
    assert re.search(words, verdict.warnings[0])
    assert verdict.outcome == LOWER


def test_order_and_case_of_equal_prompts_do_not_warn(reference):
    source = {"prompts": ("a dog", "a dog"), "steps": 20}
    assert verify(pool(normal(5, 40, 1), source=source), reference).warnings == ()


def test_false_accusations_stay_below_alpha():
    """Independent innocent models against independent references, 300 times."""
    rng = np.random.default_rng(3)
    alpha, runs = 0.05, 300
    config = VerifyConfig(alpha=alpha)
    accused = sum(
        verify(pool(rng.normal(size=30)), pool(rng.normal(size=100), 500), config).outcome == LOWER
        for _ in range(runs)
    )
    assert accused / runs <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)
    assert accused > 0


def test_as_json(reference):
    verdict = verify(pool(normal(5, 40, 1)), reference)
    data = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert data["outcome"] == LOWER
    assert data["finding"]["n"] == 40
    assert data["finding"]["location"] is not None
    assert VerifyConfig.from_dict(data["settings"]) == verdict.config == VerifyConfig()
    assert isinstance(verdict, Verdict)
