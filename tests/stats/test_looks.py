"""When a sequential test looks: increasing numbers, shares of alpha that sum to 1."""

from __future__ import annotations

import numpy as np
import pytest

from siren_ext.errors import ScoreError
from siren_ext.stats.looks import look_schedule, planned_looks


def test_planned_looks():
    looks, shares = planned_looks(50)
    assert looks == (20, 30, 40, 50, 70)
    for images in (1, 2, 3, 7, 1000):
        looks, shares = planned_looks(images)
        assert sum(shares) == pytest.approx(1)
        assert (np.diff(looks) > 0).all()
        assert len(looks) == len(shares)
    with pytest.raises(ScoreError, match="plan has 0 images"):
        planned_looks(0)


def test_look_schedule():
    looks = look_schedule(4, 100, 1.25)
    assert looks[0] == 4
    assert looks[-1] == 100
    assert (np.diff(looks) >= 1).all()
    assert look_schedule(3, 3) == (3,)
    for bad in ((0, 5, 1.2), (6, 5, 1.2), (1, 5, 1.0)):
        with pytest.raises(ScoreError):
            look_schedule(*bad)
