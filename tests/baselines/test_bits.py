from __future__ import annotations

import numpy as np
import pytest

from siren_ext.baselines.bits import (
    balanced_string,
    bits_p_value,
    log_binomial_p,
    smallest_significant,
)
from siren_ext.errors import ConfigError, ScoreError


@pytest.mark.parametrize(
    ("alpha", "single", "thirty"),
    [(1e-2, 24, 517), (1e-3, 26, 529), (1e-4, 27, 539), (1e-6, 30, 555), (1e-9, 32, 574)],
)
def test_table_of_significant_matches(alpha: float, single: int, thirty: int) -> None:
    assert smallest_significant(alpha, 32) == single
    assert smallest_significant(alpha, 960) == thirty


def test_the_tail_is_exact_at_both_ends() -> None:
    assert np.exp(log_binomial_p(480, 960)) == pytest.approx(0.5129, abs=1e-4)
    assert log_binomial_p(960, 960) == pytest.approx(-960 * np.log(2))
    assert log_binomial_p(0, 960) == 0
    assert smallest_significant(1e-12, 32) is None
    with pytest.raises(ConfigError, match="not a possible count"):
        log_binomial_p(33, 32)


def test_strings_are_balanced_and_come_from_the_seed() -> None:
    first = balanced_string(3)
    assert first.sum() == 16
    assert (first == balanced_string(3)).all()
    assert (first != balanced_string(4)).any()
    with pytest.raises(ConfigError, match="even"):
        balanced_string(0, 7)


def test_a_reader_with_a_constant_bias_gives_no_evidence() -> None:
    assert bits_p_value(np.ones((30, 32)), balanced_string(0), "published") > 0.5


def test_fair_bits_give_uniform_p() -> None:
    rng = np.random.default_rng(0)
    found = [
        [bits_p_value(rng.integers(0, 2, (10, 32)), balanced_string(seed), rule, seed) <= 0.1]
        for rule in ("published", "calibrated")
        for seed in range(300)
    ]
    shares = np.array(found).reshape(2, 300).mean(1)
    assert (np.abs(shares - 0.1) < 0.06).all()


def test_the_published_rule_accuses_pictures_that_share_their_bits() -> None:
    """The same bits in all pictures: the binomial law is wrong, the rank is not."""
    bits = np.tile(np.random.default_rng(1).integers(0, 2, 32), (30, 1))
    strings = [(balanced_string(seed), seed) for seed in range(300)]
    published = np.array([bits_p_value(bits, one, "published", seed) for one, seed in strings])
    ranks = np.array([bits_p_value(bits, one, "calibrated", seed) for one, seed in strings])
    assert (published <= 0.01).mean() > 0.2
    assert (ranks <= 0.05).mean() < 0.09


def test_errors_say_what_was_expected() -> None:
    with pytest.raises(ConfigError, match="published or calibrated"):
        bits_p_value(np.zeros((2, 32)), balanced_string(0), "exact")
    with pytest.raises(ScoreError, match="N x 32"):
        bits_p_value(np.zeros((2, 31)), balanced_string(0), "published")
    with pytest.raises(ScoreError, match="other values than 0 and 1"):
        bits_p_value(np.full((2, 32), -1.0), balanced_string(0), "published")
