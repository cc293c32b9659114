"""Score sets of a guilty and of an innocent model."""

from __future__ import annotations

import pytest
from support.score_sets import normal, pool


@pytest.fixture
def suspect():
    return pool(normal(5, 40, 1))


@pytest.fixture
def reference():
    return pool(normal(10, 120, 0), 10_000)
