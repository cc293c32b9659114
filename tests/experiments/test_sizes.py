"""Simulations of innocent models: what is vectorised or left out agrees with the product."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.experiments import sizes
from siren_ext.experiments.sizes import SIMULATIONS
from siren_ext.stats.ks import ks_less, ks_two_sided
from siren_ext.stats.sequential import sequential_keyed, sequential_ks

RUNS = 4


@pytest.mark.parametrize("one", SIMULATIONS, ids=[one.name for one in SIMULATIONS])
def test_every_simulation_gives_a_p_for_every_run(one):
    drawn = one.draw(RUNS, np.random.default_rng(1))
    assert drawn
    for p in drawn.values():
        assert p.shape == (RUNS,)
        assert (p > 0).all()
    again = one.draw(RUNS, np.random.default_rng(1))
    assert all((again[name] == p).all() for name, p in drawn.items())


def test_comparisons_by_all_scores_are_those_of_the_product():
    drawn = sizes.compared_whole(7, 11)(RUNS, np.random.default_rng(2))
    scores = np.random.default_rng(2).normal(size=(RUNS, 18))
    for name, test in (("one", ks_less), ("two", ks_two_sided)):
        p = [test(row[:7], row[7:]).p_value for row in scores]
        np.testing.assert_allclose(drawn[f"comparison, all scores, {name}-sided"], p)


def test_sequential_scores_are_those_of_the_product():
    drawn = sizes.sequential_scores(1.0)(RUNS, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    pools, scores = rng.normal(size=(RUNS, 60)), rng.normal(size=(RUNS, 60))
    p = [sequential_ks(s, r, effect=1.0).p_value for s, r in zip(scores, pools, strict=True)]
    np.testing.assert_allclose(drawn["comparison one at a time, at any time"], p)


@pytest.mark.parametrize("planned", [None, 40])
def test_looks_that_are_left_out_can_reach_no_level(planned):
    drawn = sizes.sequential_key(planned)(15, np.random.default_rng(4))
    rng = np.random.default_rng(4)
    for message, found in zip(sizes.messages(rng, 15), *drawn.values(), strict=True):
        features = sizes.styled(rng, 56 if planned else 60, 48)
        p = sequential_keyed(features, message, planned=planned, last=60).p_value
        assert found == pytest.approx(p, rel=1e-6) or min(found, p) > 0.1


def test_a_coating_is_seen_by_the_same_draws():
    """The draws are not blind: where one message is in the features, its p is tiny."""
    rng = np.random.default_rng(5)
    message = sizes.messages(rng, 1)[0]
    features = sizes.styled(rng, 40, 48) + 2 * message
    assert sizes.keyed_test(features, message).p_value < 1e-6
