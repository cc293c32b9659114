"""The keyed test against every message there is, and against models of any style."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.keyed import contributions, keyed_test, trace_messages


def every_message(bits):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=bits)))


def random_message(rng, bits):
    return rng.integers(0, 2, bits) * 2.0 - 1


def styled_features(rng, images, bits):
    """An innocent model with a strong style: all its images lean the same way."""
    return 6 * rng.normal(size=bits) + rng.standard_t(2, size=(images, bits))


def test_p_of_decoys_equals_the_share_of_all_messages():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 10))
    F = np.tanh(features / 4).sum(axis=0)
    values = every_message(10) @ F
    for _ in range(5):
        message = random_message(rng, 10)
        result = keyed_test(features, message, decoys=40_000, rng=rng)
        true = (values >= message @ F - 1e-9).mean()
        assert abs(result.p_rank - true) < 5 * math.sqrt(true * (1 - true) / 40_000) + 3e-5
        assert sum(result.histogram) == result.decoys == 40_000
        assert result.statistic == pytest.approx(message @ F)


@pytest.mark.parametrize("bits", [6, 48])
def test_uniform_for_innocent_models_of_any_style(bits):
    rng = np.random.default_rng(3)
    p = np.array(
        [
            keyed_test(
                styled_features(rng, 10, bits), random_message(rng, bits), decoys=199, rng=rng
            ).p_value
            for _ in range(1000)
        ]
    )
    for alpha in (0.01, 0.05, 0.25, 0.5):
        error = math.sqrt(alpha * (1 - alpha) / len(p))
        assert (p <= alpha).mean() <= alpha + 4 * error
        if bits == 48:  # fine enough to be exact, not only safe
            assert abs((p <= alpha).mean() - alpha) <= 4 * error


def test_never_below_its_level_over_all_messages():
    """With few decoys p often falls back on the bound: valid given any F, summed exactly."""
    rng = np.random.default_rng(4)
    for _ in range(3):
        features = styled_features(rng, 4, 8)
        p = np.array([keyed_test(features, m, decoys=9, rng=rng).p_value for m in every_message(8)])
        for alpha in (1 / 256, 2 / 256, 5 / 256, 0.05):  # below the floor: no randomness is left
            assert (p <= alpha).mean() <= alpha


def test_guilty_model_is_found_at_the_floor():
    rng = np.random.default_rng(5)
    message = random_message(rng, 48)
    features = styled_features(rng, 1, 48)[0] * 0.1 + rng.normal(0, 4, (150, 48)) + 2 * message
    result = keyed_test(features, message, rng=rng)
    assert result.decoys == 100_000
    assert result.method == "bound"
    assert result.at_least == 0
    assert result.smallest_p <= result.p_value == result.p_bound < 1e-9
    assert result.p_bound <= result.hoeffding < result.p_rank == 1 / 100_001
    assert result.bits_right >= 46
    assert 0.5 < result.bit_accuracy < 1
    wrong = keyed_test(features, -message, decoys=1000, rng=rng)
    assert wrong.p_value == 1.0


def test_one_image_decides_nothing_by_its_size():
    rng = np.random.default_rng(6)
    message = random_message(rng, 16)
    features = rng.normal(size=(100, 16))
    features[0] = 1e12 * message
    assert np.abs(contributions(features)).max() <= 1
    assert keyed_test(features, message, decoys=2000, rng=rng).p_value > 1e-4


def test_memory_does_not_grow_with_the_decoys():
    rng = np.random.default_rng(7)
    features, message = rng.normal(size=(5, 48)), random_message(rng, 48)
    tracemalloc.start()
    keyed_test(features, message, decoys=300_000, rng=rng)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6, "all decoys at once would take 115 MB"


def test_seeded_and_plain_values_without_the_message():
    features = np.random.default_rng(8).normal(size=(6, 12))
    message = random_message(np.random.default_rng(9), 12)
    first, again = (
        keyed_test(features, message, decoys=500, rng=np.random.default_rng(1)) for _ in range(2)
    )
    assert first == again
    stored = json.loads(json.dumps(first.to_dict()))
    assert stored["p_value"] == first.p_value
    lists = [value for value in stored.values() if isinstance(value, list)]
    assert [len(value) for value in lists] == [101]


def test_all_messages_tied():
    """A model whose features are all zero says nothing."""
    result = keyed_test(np.zeros((3, 5)), np.ones(5), decoys=50, rng=np.random.default_rng(0))
    assert result.p_value == 1.0
    assert result.at_least == 50


# --- tracing -----------------------------------------------------------------------------------


def test_trace_names_the_recipient():
    rng = np.random.default_rng(10)
    messages = [random_message(rng, 32) for _ in range(12)]
    features = rng.normal(0, 3, (80, 32)) + 1.5 * messages[7]
    result = trace_messages(features, messages, decoys=5000, rng=rng)
    assert result.ranking[0] == 7
    assert [i for i, named in enumerate(result.holm.rejected) if named] == [7]
    alone = keyed_test(features, messages[3], decoys=5000, rng=np.random.default_rng(1))
    assert result.findings[3].statistic == alone.statistic
    assert result.findings[3].p_bound == alone.p_bound


def test_tied_recipients_get_the_same_count():
    rng = np.random.default_rng(11)
    message = random_message(rng, 10)
    features = rng.normal(size=(5, 10))
    result = trace_messages(features, [message, -message, message], decoys=800, rng=rng)
    assert result.findings[0] == result.findings[2]
    total = result.findings[0].at_least + result.findings[1].at_least
    assert abs(total - 800) <= 5 * math.sqrt(800), "T is symmetric"


def test_trace_rarely_names_the_innocent():
    """Another recipient's copy was used; the others are named with a risk of at most alpha."""
    rng = np.random.default_rng(12)
    false = 0
    for _ in range(300):
        messages = [random_message(rng, 24) for _ in range(6)]
        features = styled_features(rng, 5, 24) + 2 * messages[0]
        result = trace_messages(features, messages, alpha=0.1, decoys=299, rng=rng)
        false += any(result.holm.rejected[1:])
    assert false / 300 <= 0.1 + 3 * math.sqrt(0.09 / 300)


@pytest.mark.parametrize(
    ("features", "message", "options", "words"),
    [
        ([[1.0, 2.0]], [1, 0], {}, "other values than -1 and"),
        ([[1.0, 2.0]], [1, 1, 1], {}, "have 2 bits"),
        ([1.0, 2.0], [1, 1], {}, "one row per image"),
        ([[1.0, np.nan]], [1, 1], {}, "1 of 1 images"),
        ([[1.0, 2.0]], [1, 1], {"decoys": 0}, "decoys is 0"),
        ([[1.0, 2.0]], [1, 1], {"scale": 0}, "scale is 0"),
    ],
)
def test_bad_input_is_named(features, message, options, words):
    with pytest.raises(ScoreError, match=words):
        keyed_test(features, message, rng=np.random.default_rng(0), **options)


def test_trace_needs_a_message():
    with pytest.raises(ScoreError, match="no message"):
        trace_messages([[1.0]], [], rng=np.random.default_rng(0))
