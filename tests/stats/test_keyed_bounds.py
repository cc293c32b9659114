"""The bounds of the keyed test's p against every message there is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siren_ext.stats.keyed_bounds import (
    hoeffding_bound,
    message_tail,
    share_of_messages,
    whole_distribution,
)

sums = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=9)


def every_message(bits):
    return np.array(list(itertools.product([-1.0, 1.0], repeat=bits)))


@settings(max_examples=60)
@given(F=sums)
def test_bounds_hold_for_every_message(F):
    """Tail and Hoeffding bound are at least the true share, for each attainable statistic."""
    F = np.array(F)
    values = every_message(len(F)) @ F
    for s in values[:: max(1, len(values) // 40)]:
        true = (values >= s).mean()
        assert message_tail(F, s) >= true - 1e-12
        assert hoeffding_bound(F, s) >= true - 1e-12


def test_tail_is_sharp():
    rng = np.random.default_rng(1)
    F = rng.normal(size=14)
    values = every_message(14) @ F
    for s in np.quantile(values, [0.5, 0.9, 0.99, 0.999, 1.0]):
        true = (values >= s).mean()
        assert true <= message_tail(F, s) <= 1.05 * true + 0.5**14


def test_tail_keeps_the_digits_of_tiny_p():
    assert message_tail(np.ones(48), 48) == pytest.approx(0.5**48)
    assert message_tail(np.ones(48), 46) == pytest.approx(49 * 0.5**48, rel=1e-9)
    assert message_tail(np.ones(48), -48) == 1.0
    assert message_tail(np.zeros(3), 0.0) == 1.0
    assert hoeffding_bound(np.zeros(3), 0.0) == 1.0
    assert hoeffding_bound(np.ones(48), 24.0) == pytest.approx(math.exp(-6))


@settings(max_examples=60)
@given(F=st.lists(st.integers(0, 10), min_size=1, max_size=9))
def test_whole_numbers_are_counted_exactly(F):
    values = every_message(len(F)) @ np.array(F)
    spread = whole_distribution(F)
    assert len(spread) == sum(F) + 1
    for s in range(-sum(F) - 2, sum(F) + 1):
        assert share_of_messages(spread, s) == (values >= s).mean()


def test_whole_numbers_keep_the_digits_of_tiny_p():
    spread = whole_distribution([10] * 512)
    assert share_of_messages(spread, 5120) == pytest.approx(0.5**512, rel=1e-12)
    assert share_of_messages(spread, 5100) == pytest.approx(513 * 0.5**512, rel=1e-12)
    assert share_of_messages(spread, -5120) == 1.0
    assert share_of_messages(whole_distribution([0, 0]), 0) == 1.0
