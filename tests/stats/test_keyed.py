"""The keyed test against every message there is, and against models of any style."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.keyed import (
    HISTOGRAM_BINS,
    LARGEST,
    contributions,
    keyed_result,
    keyed_test,
    trace_messages,
    whole_sums,
)
from siren_ext.stats.keyed_bounds import message_tail


def every_message(bits):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=bits)))


def random_message(rng, bits):
    return rng.integers(0, 2, bits) * 2.0 - 1


def styled_features(rng, images, bits):
    """An innocent model with a strong style: all its images lean the same way."""
    return 6 * rng.normal(size=bits) + rng.standard_t(2, size=(images, bits))


def test_p_is_the_share_of_all_messages():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 10))
    F = whole_sums(contributions(features))
    values = every_message(10) @ F
    for _ in range(20):
        message = random_message(rng, 10)
        result = keyed_test(features, message)
        assert result.p_value == (values >= message @ F).mean()
        assert result.statistic == message @ F
        assert result.span == np.abs(F).sum()
    assert sum(result.histogram) == pytest.approx(1)
    assert len(result.histogram) == HISTOGRAM_BINS


def test_sums_are_whole_numbers_up_to_ten():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 48))
    F = whole_sums(contributions(features))
    assert F.dtype == np.int64
    assert np.abs(F).max() == LARGEST
    summed = np.tanh(features / 4).sum(axis=0)
    scaled = summed * LARGEST / np.abs(summed).max()
    assert np.abs(F - scaled).max() < 1
    assert np.abs(F - scaled)[np.abs(scaled) > 0.5].max() <= 0.5
    np.testing.assert_array_equal(np.sign(F), np.sign(summed))
    np.testing.assert_array_equal(whole_sums(contributions(-features)), -F)


@pytest.mark.parametrize("bits", [6, 48])
def test_uniform_for_innocent_models_of_any_style(bits):
    rng = np.random.default_rng(3)
    p = np.array(
        [
            keyed_test(styled_features(rng, 10, bits), random_message(rng, bits)).p_value
            for _ in range(3000)
        ]
    )
    for alpha in (0.01, 0.05, 0.25, 0.5):
        error = math.sqrt(alpha * (1 - alpha) / len(p))
        assert (p <= alpha).mean() <= alpha + 4 * error
        if bits == 48:  # fine enough to be near its level, not only safe
            assert (p <= alpha).mean() >= 0.9 * alpha - 4 * error


def test_never_below_its_level_over_all_messages():
    rng = np.random.default_rng(4)
    for _ in range(3):
        features = styled_features(rng, 4, 8)
        p = np.array([keyed_test(features, m).p_value for m in every_message(8)])
        for alpha in (1 / 256, 2 / 256, 5 / 256, 0.05, 0.3):
            assert (p <= alpha).mean() <= alpha


def test_guilty_model_is_found():
    rng = np.random.default_rng(5)
    message = random_message(rng, 48)
    features = styled_features(rng, 1, 48)[0] * 0.1 + rng.normal(0, 4, (150, 48)) + 2 * message
    result = keyed_test(features, message)
    assert result.smallest_p <= result.p_value < 1e-9
    assert result.bits_right >= 46
    assert 0.5 < result.bit_accuracy < 1
    assert keyed_test(features, -message).p_value == pytest.approx(1.0)


def test_rounding_costs_little():
    """Mean log10 p of whole numbers against that of sums in full precision."""
    rng = np.random.default_rng(6)
    lost = []
    for _ in range(100):
        message = random_message(rng, 48)
        features = rng.normal(0, 3, (30, 48)) + 1.2 * message + 1.5 * rng.normal(size=48)
        summed = contributions(features).sum(axis=0)
        fine = message_tail(summed, float(summed @ message))
        lost.append(math.log10(keyed_test(features, message).p_value / fine))
    assert abs(np.mean(lost)) < 0.25


def test_one_image_decides_nothing_by_its_size():
    rng = np.random.default_rng(6)
    message = random_message(rng, 16)
    features = rng.normal(size=(100, 16))
    features[0] = 1e12 * message
    assert np.abs(contributions(features)).max() <= 1
    assert keyed_test(features, message).p_value > 1e-4


def test_public_values_depend_on_the_message_by_t_alone():
    features = np.random.default_rng(8).normal(size=(6, 12))
    F = whole_sums(contributions(features))
    messages = every_message(12)
    alike = messages[messages @ F == F @ messages[777]]
    assert len(alike) > 20
    results = [keyed_test(features, message) for message in alike]
    assert len({result.bits_right for result in results}) > 1
    assert len({json.dumps(result.to_dict()) for result in results}) == 1
    stored = json.loads(json.dumps(results[0].to_dict()))
    assert stored["p_value"] == results[0].p_value
    again = keyed_result(np.abs(F), stored["statistic"], images=6)
    assert again.to_dict() == results[0].to_dict()


def test_all_messages_tied():
    """A model whose features are all zero says nothing."""
    result = keyed_test(np.zeros((3, 5)), np.ones(5))
    assert (result.p_value, result.smallest_p, result.span) == (1.0, 1.0, 0.0)
    assert sum(result.histogram) == max(result.histogram) == 1.0


# --- tracing -----------------------------------------------------------------------------------


def test_trace_names_the_recipient():
    rng = np.random.default_rng(10)
    messages = [random_message(rng, 32) for _ in range(12)]
    features = rng.normal(0, 3, (80, 32)) + 1.5 * messages[7]
    result = trace_messages(features, messages)
    assert result.ranking[0] == 7
    assert [i for i, named in enumerate(result.holm.rejected) if named] == [7]
    assert result.findings[3] == keyed_test(features, messages[3])


def test_tied_recipients_get_the_same_p():
    rng = np.random.default_rng(11)
    message = random_message(rng, 10)
    features = rng.normal(size=(5, 10))
    result = trace_messages(features, [message, -message, message])
    assert result.findings[0] == result.findings[2]
    assert result.findings[0].p_value + result.findings[1].p_value >= 1, "T is symmetric"


def test_trace_rarely_names_the_innocent():
    """Another recipient's copy was used; the others are named with a risk of at most alpha."""
    rng = np.random.default_rng(12)
    false = 0
    for _ in range(300):
        messages = [random_message(rng, 24) for _ in range(6)]
        features = styled_features(rng, 5, 24) + 2 * messages[0]
        result = trace_messages(features, messages, alpha=0.1)
        false += any(result.holm.rejected[1:])
    assert false / 300 <= 0.1 + 3 * math.sqrt(0.09 / 300)


@pytest.mark.parametrize(
    ("features", "message", "options", "words"),
    [
        ([[1.0, 2.0]], [1, 0], {}, "other values than -1 and"),
        ([[1.0, 2.0]], [1, 1, 1], {}, "have 2 bits"),
        ([1.0, 2.0], [1, 1], {}, "one row per image"),
        ([[1.0, np.nan]], [1, 1], {}, "1 of 1 images"),
        ([[1.0, 2.0]], [1, 1], {"scale": 0}, "scale is 0"),
    ],
)
def test_bad_input_is_named(features, message, options, words):
    with pytest.raises(ScoreError, match=words):
        keyed_test(features, message, **options)


def test_trace_needs_a_message():
    with pytest.raises(ScoreError, match="no message"):
        trace_messages([[1.0]], [])
