"""The verdict in words."""

from __future__ import annotations

import numpy as np

from siren_ext.attribution.confidence import innocent_rate
from siren_ext.attribution.source_wording import (
    DOES_NOT_PROVE,
    NULL,
    SHADOW_NULL,
    headline,
    verdict_notes,
)


def test_a_headline_names_counts_and_the_innocent_rate() -> None:
    rate = innocent_rate([np.array([0.1, 0.3, 0.3, 0.3])] * 3, 0.15)
    text = headline("found", 20, 30, 2e-9, rate)
    assert "20 of 30 key samples" in text
    assert "3 innocent models reproduce 25% of theirs" in text
    assert "2e-09" in text
    assert "or on what the source was trained on" in text
    assert "not enough to accuse it (p = 0.5)" in headline("open", 1, 30, 0.5, rate)
    assumed = headline("open", 1, 30, 0.5, innocent_rate([], 0.15))
    assert "are assumed to reproduce at most 5%" in assumed


def test_notes_say_what_makes_the_figures_weak() -> None:
    good = innocent_rate([np.full(4, 0.3)] * 3, 0.15)
    (models,) = verdict_notes(good, "given", False, 0)
    assert "as if all innocent models reproduced them equally often" in models
    assert "all 3 of them in at most 1 of 4 cases" in models
    notes = " ".join(verdict_notes(innocent_rate([], 0.15), "paper", True, 2))
    for part in ("three or more are needed", "Stable Diffusion at 512", "Give four", "2 pictures"):
        assert part in notes


def test_the_note_on_an_assumed_rate_says_where_it_comes_from() -> None:
    (paper,) = verdict_notes(innocent_rate([], 0.15), "given", False, 0)
    assert "5% is assumed instead, after a single model in the paper" in paper
    (own,) = verdict_notes(innocent_rate([np.full(30, 0.1)] * 2, 0.15), "given", False, 0)
    assert "interval of what these reproduce, so nobody is accused" in own
    assert "paper" not in own


def test_the_null_hypothesis_and_the_limits_are_said() -> None:
    assert "Assumption that is tested" in NULL
    assert "Assumption that is tested" in SHADOW_NULL
    text = " ".join(DOES_NOT_PROVE)
    for part in ("source's own training images", "who trained", "clears nobody", "rebuilt"):
        assert part in text
