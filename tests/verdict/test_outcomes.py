"""What each test may say."""

from __future__ import annotations

from typing import get_args

import pytest

from siren_ext.verdict.outcomes import (
    LOWER,
    LOWER_RANK,
    NO_DIFFERENCE,
    NOT_COMPARABLE,
    Outcome,
    comparison_outcome,
    outcome_of,
    tone_of,
    undecided,
)


@pytest.mark.parametrize("p", [1e-300, 1e-6, 0.5])
@pytest.mark.parametrize("smallest", [1e-300, 1e-3])
@pytest.mark.parametrize("alpha", [1e-6, 0.05])
@pytest.mark.parametrize("comparable", [True, False])
@pytest.mark.parametrize("lower", [LOWER, LOWER_RANK])
def test_a_comparison_never_finds_a_coating(
    p: float, smallest: float, alpha: float, comparable: bool, lower: Outcome
) -> None:
    outcome = comparison_outcome(p, smallest, alpha, comparable=comparable, lower=lower)
    assert outcome in (lower, NO_DIFFERENCE, NOT_COMPARABLE, "inconclusive")
    assert (outcome == NOT_COMPARABLE) is not comparable
    assert tone_of(outcome) != "found"
    same = outcome_of(p, smallest, alpha)
    if comparable:
        assert undecided(outcome) == undecided(same)
        assert (outcome == lower) == (same == "coating found")


def test_every_outcome_is_shown() -> None:
    tones = {outcome: tone_of(outcome) for outcome in get_args(Outcome)}
    assert [name for name, tone in tones.items() if tone == "found"] == ["coating found"]
