"""The sequential tests: a martingale by brute force, valid at any stop, and quicker than a plan."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siren_ext.errors import ScoreError
from siren_ext.stats.keyed_bounds import message_tail
from siren_ext.stats.keyed_power import KeyedEffect, plan_keyed
from siren_ext.stats.looks import look_schedule
from siren_ext.stats.rank_evidence import log_rank_evidence, references_above, shape_bets
from siren_ext.stats.sequential import (
    SequentialKeyed,
    SequentialKs,
    SequentialResult,
    least_images,
    sequential_keyed,
    sequential_ks,
)


def paths(suspects, references):
    """Evidence after each image for many tests side by side, shape (tests, images)."""
    ordered = np.sort(references, axis=1)
    pairs = zip(suspects, ordered, strict=True)
    above = np.stack([references_above(row, pool) for row, pool in pairs])
    bets = shape_bets(None)
    steps = range(1, suspects.shape[1] + 1)
    m = references.shape[1]
    return np.stack([log_rank_evidence(above[:, :t], m, *bets) for t in steps], axis=1)


@pytest.mark.parametrize(("m", "t"), [(4, 1), (4, 2), (3, 3)])
def test_conditional_mean_is_one(m, t):
    """Martingale property: given the order so far, every place of the next score is as likely."""
    reference = np.arange(m) * 10.0
    for earlier in itertools.product(np.arange(m + 1) * 10.0 - 5, repeat=t):
        values = np.array(earlier) + np.arange(t) * 0.1  # no ties among the suspects
        now = math.exp(sequential_ks(values, reference).path[-1])
        points = np.sort(np.concatenate([values, reference]))
        places = np.concatenate([[-99.0], (points[1:] + points[:-1]) / 2, [99.0]])
        following = [
            math.exp(sequential_ks([*values, place], reference).path[-1]) for place in places
        ]
        assert np.mean(following) == pytest.approx(now, rel=1e-9)


def test_false_rejections_over_ten_thousand_runs():
    """Whatever decides when to stop, an innocent model is accused with a risk of at most alpha."""
    rng = np.random.default_rng(2)
    runs, images, m = 10_000, 20, 15
    evidence = paths(rng.normal(size=(runs, images)), rng.normal(size=(runs, m)))
    running = np.maximum.accumulate(evidence, axis=1)
    every = np.arange(runs)
    greedy = evidence.argmax(axis=1)  # a stop that knows the future
    random_stop = rng.integers(0, images, runs)
    for alpha in (0.2, 0.05, 0.01, 0.001):
        slack = 4 * math.sqrt(alpha / runs)
        boundary = -math.log(alpha)
        assert (running[:, -1] >= boundary).mean() <= alpha + slack
        assert (evidence[every, greedy] >= boundary).mean() <= alpha + slack
        assert (evidence[every, random_stop] >= boundary).mean() <= alpha + slack
    # not empty: the boundary is reached at a rate of the order of alpha
    assert (running[:, -1] >= -math.log(0.05)).mean() > 0.005


def test_mean_evidence_at_a_stop_is_one():
    """Optional stopping: the mean stays 1 for a rule that looks at the evidence."""
    rng = np.random.default_rng(3)
    runs, images = 8000, 12
    evidence = np.exp(paths(rng.normal(size=(runs, images)), rng.normal(size=(runs, 10))))
    stop = np.where((evidence > 1.5).any(axis=1), (evidence > 1.5).argmax(axis=1), images - 1)
    stopped = evidence[np.arange(runs), stop]
    assert abs(stopped.mean() - 1) < 4 * stopped.std() / math.sqrt(runs)


def test_ties_never_help_the_owner():
    """With heavy ties the evidence is at most that of every way to break them."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        suspect, reference = rng.integers(0, 3, 6) * 1.0, rng.integers(0, 3, 8) * 1.0
        tied = np.array(sequential_ks(suspect, reference).path)
        for _ in range(5):
            broken = sequential_ks(
                suspect + rng.uniform(-0.4, 0.4, 6), reference + rng.uniform(-0.4, 0.4, 8)
            ).path
            assert (tied <= np.array(broken) + 1e-9).all() or suspect.size == 0


def test_ties_keep_the_level():
    rng = np.random.default_rng(5)
    evidence = paths(
        rng.integers(0, 4, (3000, 15)).astype(float), rng.integers(0, 4, (3000, 12)).astype(float)
    )
    assert (evidence.max(axis=1) >= -math.log(0.05)).mean() <= 0.05


@settings(max_examples=30)
@given(
    suspect=st.lists(st.integers(-20, 20), min_size=1, max_size=12),
    reference=st.lists(st.integers(-20, 20), min_size=1, max_size=12),
)
def test_only_the_order_of_scores_matters(suspect, reference):
    first = sequential_ks(suspect, reference).path
    moved = sequential_ks(np.exp(np.array(suspect) / 7), np.exp(np.array(reference) / 7)).path
    assert first == moved


def test_direction():
    rng = np.random.default_rng(6)
    reference = rng.normal(size=100)
    low = sequential_ks(rng.normal(-2, 1, 30), reference, alpha=1e-4)
    high = sequential_ks(rng.normal(2, 1, 30), reference, alpha=1e-4)
    assert low.rejected
    assert low.p_value <= 1e-4
    assert not high.rejected
    assert high.p_value > 0.1


def test_one_image_at_a_time_and_a_rejection_stays():
    rng = np.random.default_rng(7)
    reference = rng.normal(size=80)
    test = SequentialKs(reference, alpha=1e-3)
    assert test.result.images == 0
    assert test.result.p_value == 1.0
    scores = np.concatenate([rng.normal(-2.5, 1, 15), rng.normal(3, 1, 60)])
    results = [test.update(score) for score in scores]
    assert results[-1] == sequential_ks(scores, reference, alpha=1e-3)
    first = next(result for result in results if result.rejected)
    assert first.stopped_at == first.images <= 15
    assert first.path[-1] >= -math.log(1e-3)
    assert results[-1].stopped_at == first.stopped_at, "later images do not take it back"
    assert results[-1].path[-1] < -math.log(1e-3)
    p = [result.p_value for result in results]
    assert (np.diff(p) <= 0).all()
    assert json.loads(json.dumps(results[-1].to_dict()))["alpha"] == 1e-3


def test_p_is_never_zero():
    state = SequentialResult.of([1.0, 800.0, 3.0], 1e-6)
    assert (state.p_value, state.stopped_at) == (1e-300, 2)


def test_least_images():
    for m, alpha in ((30, 1e-3), (30, 1e-6), (300, 1e-6)):
        need = least_images(m, alpha)
        perfect = sequential_ks(np.zeros(need), np.ones(m), alpha=alpha)
        assert perfect.stopped_at == need
    assert least_images(1, 1e-6, limit=50) is None


def test_bad_input_is_named():
    with pytest.raises(ScoreError, match="reference scores have shape"):
        SequentialKs([])
    with pytest.raises(ScoreError, match="suspect scores are not finite"):
        SequentialKs([1.0]).update(math.nan)
    with pytest.raises(ScoreError, match="alpha is 0"):
        SequentialKs([1.0], alpha=0)


# --- keyed -------------------------------------------------------------------------------------


def random_message(rng, bits):
    return rng.integers(0, 2, bits) * 2.0 - 1


def styled(rng, images, bits):
    """An innocent model whose images all lean the same way."""
    return 3 * rng.normal(size=bits) + rng.normal(0, 2, size=(images, bits))


def betting_on_images(features, message, bet=0.5):
    """What must not be done: one bet per image, as if images were independent given the key."""
    gains = (np.tanh(features / 4) * message).mean(axis=1)
    return np.cumsum(np.log1p(bet * gains))


def test_style_does_not_accuse():
    """Bets multiplied over images accuse innocent models of a strong style; shared looks do not."""
    rng = np.random.default_rng(10)
    alpha, runs, naive, ours = 0.05, 120, 0, 0
    for _ in range(runs):
        features, message = styled(rng, 100, 12), random_message(rng, 12)
        naive += betting_on_images(features, message).max() >= -math.log(alpha)
        ours += sequential_keyed(features, message, alpha=alpha, last=100).rejected
    assert naive / runs > 4 * alpha, "the trap is real"
    assert ours / runs <= alpha + 3 * math.sqrt(alpha / runs)


def test_every_message_together_stay_below_alpha():
    """No simulation: for given images the share of all messages that is ever rejected."""
    rng = np.random.default_rng(11)
    messages = np.array(list(itertools.product([-1.0, 1.0], repeat=7)))
    features = rng.normal(0, 3, (20, 7))
    alpha = 0.2
    ever = [sequential_keyed(features, m, alpha=alpha, first=2, last=20).rejected for m in messages]
    assert 0 < np.mean(ever) <= alpha


def test_guilty_model_is_caught_and_looks_are_planned():
    rng = np.random.default_rng(12)
    message = random_message(rng, 48)
    test = SequentialKeyed(message, alpha=1e-6)
    assert test.looks == look_schedule(5, 400)
    summed = np.zeros(48)
    for image in range(1, 401):
        row = rng.normal(0, 4, 48) + 2 * message
        summed += np.tanh(row / 4)
        before, result = test.result, test.update(row)
        if image in test.looks:
            p = message_tail(summed, float(message @ summed)) * len(test.looks)
            assert result.path[-1] == pytest.approx(-math.log(p))
        else:
            assert result.path[-1] == (before.path[-1] if before.path else 0.0)
        if result.rejected:
            break
    assert result.rejected
    assert result.stopped_at == result.images in test.looks
    assert result.images < 60


@pytest.mark.parametrize(("mean", "spread", "alpha"), [(0.2, 0.08, 1e-3), (0.2, 0.08, 1e-6)])
def test_median_images_against_the_fixed_keyed_plan(mean, spread, alpha):
    """Half of the guilty models with the planned effect are caught by 60 % of the plan."""
    rng = np.random.default_rng(13)
    effect = KeyedEffect(mean, spread, 1.0, 48)
    fixed = plan_keyed(effect, alpha=alpha, power=0.95, rng=rng).images
    stops = []
    for _ in range(60):
        message = random_message(rng, 48)
        own = mean + spread * rng.normal(size=48)
        given = (own + rng.normal(size=(140 * fixed // 100, 48))) * message
        result = sequential_keyed(given, message, alpha=alpha, planned=fixed, scale=None)
        stops.append(result.stopped_at or math.inf)
    assert np.median(stops) <= 0.6 * fixed
    assert np.isfinite(stops).mean() >= 0.9


def test_bad_features_are_named():
    test = SequentialKeyed([1, -1])
    with pytest.raises(ScoreError, match="expected 2 numbers"):
        test.update([1.0])
    with pytest.raises(ScoreError, match="not finite"):
        test.update([1.0, math.inf])
    assert test.result.images == 0
    with pytest.raises(ScoreError, match="other values"):
        SequentialKeyed([1, 0])
