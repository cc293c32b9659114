"""Random subsets: uniform, of the right size, without replacement."""

from __future__ import annotations

import math

import numpy as np

from siren_ext.stats.draw import draw_subsets


def test_subsets_are_uniform_and_without_replacement():
    rng = np.random.default_rng(10)
    for size in (3, 8):
        chosen = draw_subsets(20_000, 10, size, rng)
        assert (chosen.sum(axis=1) == size).all()
        share, p = chosen.mean(axis=0), size / 10
        assert np.abs(share - p).max() < 5 * math.sqrt(p * (1 - p) / 20_000)
        pair = (chosen[:, 0] & chosen[:, 9]).mean()
        q = size * (size - 1) / 90
        assert abs(pair - q) < 5 * math.sqrt(q * (1 - q) / 20_000)
