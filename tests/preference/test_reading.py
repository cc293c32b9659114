"""How much of the pattern of each bit is in a field."""

from __future__ import annotations

import numpy as np

from siren_ext.preference.reading import read_fields


def test_shared_parts_of_patterns_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    common = rng.standard_normal(200)
    patterns = common + 0.9 * rng.standard_normal((4, 200))
    message = np.array([1.0, 1.0, 1.0, -1.0])
    fields = (message @ patterns)[None]
    plain = patterns @ fields[0]
    assert (np.sign(plain) != message).any()  # neighbours outweigh a bit's own pattern
    assert (np.sign(read_fields(fields, patterns)[0]) == message).all()


def test_a_field_of_zeros_stays_zero() -> None:
    patterns = np.random.default_rng(0).standard_normal((4, 60))
    assert not read_fields(np.zeros((3, 60)), patterns).any()
    assert not read_fields(np.zeros((3, 60)), patterns, removed=patterns / 2).any()


def test_what_a_model_removes_is_what_counts() -> None:
    rng = np.random.default_rng(7)
    patterns, message = rng.standard_normal((8, 300)), rng.choice([-1.0, 1.0], 8)
    kept = np.where(np.arange(300) < 150, 0.95, 0.05)  # the first half is what images have
    removed = patterns * (1 - kept)
    hits, plain_hits = 0, 0
    for _ in range(40):
        drift = np.where(np.arange(300) < 150, 6 * rng.standard_normal(300), 0)
        field = (0.1 * message @ patterns + drift + 0.3 * rng.standard_normal(300))[None]
        found = read_fields(field, patterns, removed=removed)
        hits += int((np.sign(found[0]) == message).sum())
        plain_hits += int((np.sign(read_fields(field, patterns)[0]) == message).sum())
    assert hits > 1.2 * plain_hits
    same = read_fields(field, patterns, removed=patterns)
    np.testing.assert_allclose(same, read_fields(field, patterns))


def test_what_other_adapters_learn_counts_little() -> None:
    rng = np.random.default_rng(5)
    patterns, message = rng.standard_normal((8, 300)), rng.choice([-1.0, 1.0], 8)
    usual = rng.standard_normal((2, 300))  # every training moves along these
    others = rng.standard_normal((12, 2)) @ usual + 0.05 * rng.standard_normal((12, 300))
    hits, plain_hits = 0, 0
    for _ in range(40):
        drift = 3 * rng.standard_normal(2) @ usual
        field = (0.05 * message @ patterns + drift + 0.5 * rng.standard_normal(300))[None]
        hits += int((np.sign(read_fields(field, patterns, others)[0]) == message).sum())
        plain_hits += int((np.sign(read_fields(field, patterns)[0]) == message).sum())
    assert hits > 1.2 * plain_hits
    nothing = np.zeros((3, 300))
    assert np.array_equal(read_fields(field, patterns, nothing), read_fields(field, patterns))


def test_weights_are_those_of_generalised_least_squares() -> None:
    rng = np.random.default_rng(6)
    others, patterns = rng.standard_normal((5, 30)), rng.standard_normal((3, 30))
    spreads = others.T @ others / 5
    spreads += 0.3 * np.trace(spreads) / 30 * np.eye(30)
    weighted = patterns @ np.linalg.inv(spreads)
    overlap = weighted @ patterns.T
    ridge = 0.1 * np.linalg.eigvalsh(overlap)[-1]
    fields = rng.standard_normal((4, 30))
    expected = np.linalg.solve(overlap + ridge * np.eye(3), weighted @ fields.T).T
    expected /= expected.std()
    np.testing.assert_allclose(read_fields(fields, patterns, others), expected, atol=1e-9)
