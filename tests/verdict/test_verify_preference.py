"""Verdicts from a model's preference for the message."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.keyed_coating import BITS, key

from siren_ext.errors import ScoreError
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

OWNERS = key()


def measured(strength: float, count: int = 60) -> ScoreSet:
    """The preference of a model that learnt the message with a strength; 0 for a clean one."""
    rng = np.random.default_rng(0)
    features = strength * OWNERS.signs() + rng.normal(size=(count, BITS))
    names = tuple(f"{row}.png" for row in range(count))
    hashes = tuple(f"{row:064x}" for row in range(count))
    scores = rng.normal(size=count)
    return ScoreSet(scores, names, hashes, "coater", {"kind": "preference"}, (), features)


def test_a_preferred_message_is_found_and_named_as_such() -> None:
    verdict = verify(measured(0.6), key=OWNERS, config=VerifyConfig(alpha=1e-4))
    assert (verdict.outcome, verdict.test) == ("coating found", "keyed")
    assert "The suspicious model prefers the secret message" in verdict.headline
    assert not any("images equally well" in text for text in verdict.does_not_prove)


def test_a_clean_model_prefers_nothing() -> None:
    verdict = verify(measured(0), key=OWNERS, config=VerifyConfig(alpha=1e-4))
    assert verdict.outcome == "no evidence"
    assert not any("suspect image" in text for text in verdict.warnings)


def test_few_images_are_no_weakness_of_their_own() -> None:
    verdict = verify(measured(1.0, 4), key=OWNERS, config=VerifyConfig(alpha=1e-4))
    assert not any("suspect image" in text for text in verdict.warnings)


def test_pictures_and_preference_are_not_mixed() -> None:
    preference = measured(0.6)
    pictures = dataclasses.replace(preference, source={"kind": "folder"})
    with pytest.raises(ScoreError, match="against a key alone"):
        verify(preference, pictures, key=OWNERS)
    with pytest.raises(ScoreError, match="against a key alone"):
        verify(preference)
    with pytest.raises(ScoreError, match="expected the scores of pictures"):
        verify(pictures, preference, key=OWNERS)
    with pytest.raises(ScoreError, match="expected the scores of pictures"):
        verify(pictures, key=OWNERS, innocents=[preference])
