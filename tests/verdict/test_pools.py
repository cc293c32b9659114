"""Copies within a pool count once, and equal pools are recognised."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.looks import table
from support.score_sets import drawn

from siren_ext.errors import ScoreError
from siren_ext.scoring.copies import distinct_rows
from siren_ext.verdict.pools import (
    distinct_scores,
    identical_pools,
    pools_contrast,
    used_features,
)

HASHES = ("a" * 64, "b" * 64, "a" * 64, "a" * 64, "", "")


def test_only_equal_bytes_with_equal_scores_are_copies():
    scores = np.array([1.0, 1.0, 1.0, 2.0, 1.0, 1.0])
    pool = drawn(5, 6, hashes=HASHES, scores=scores)
    assert distinct_rows(pool) == [0, 1, 3, 4, 5], "without a hash nothing is known to be a copy"
    assert distinct_scores(pool).tolist() == [1.0, 1.0, 2.0, 1.0, 1.0]
    assert np.array_equal(used_features(pool), pool.features[[0, 1, 3, 4, 5]])
    with pytest.raises(ScoreError, match="have no features"):
        used_features(dataclasses.replace(pool, features=None))


def test_pools_are_compared_by_content_whatever_the_order():
    pool = drawn(5, 6)
    turned = dataclasses.replace(
        pool,
        scores=pool.scores[::-1].copy(),
        hashes=pool.hashes[::-1],
        features=None,
    )
    assert identical_pools(pool, turned)
    assert not identical_pools(pool, drawn(5, 6, seed=9))
    unknown = dataclasses.replace(turned, hashes=("",) * 6)
    assert identical_pools(pool, unknown), "by scores, where hashes are missing"


def test_looks_are_compared_where_both_have_them():
    first = drawn(5, features=None, looks=table(40, 5))
    second = drawn(5, features=None, looks=table(40, 6, at0=-4.0))
    found = pools_contrast(first, second)
    assert found is not None
    assert not found.comparable
    assert pools_contrast(first, drawn(5, looks=None)) is None
