"""Centring by uncoated pictures: a sharper test where the kind of picture hides the message."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.evidence_samples import SIGNS, known_key
from support.score_sets import drawn

from siren_ext.errors import ScoreError
from siren_ext.evidence.ledger import suspect_digest
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.centre import centred
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.stats.keyed import keyed_test
from siren_ext.verdict.verify import verify

KIND = 12 * np.random.default_rng(8).normal(size=48)


def paintings(seed: int, n: int = 60, lean: float = 0.0) -> ScoreSet:
    """Features that depend on the kind of picture far more than on a message."""
    rng = np.random.default_rng(seed)
    features = KIND + 1.5 * rng.normal(size=(n, 48)) + lean * SIGNS
    return drawn(5, n, seed=seed, features=features)


def test_the_contributions_are_those_of_the_page() -> None:
    suspect, uncoated = paintings(1), paintings(2)
    found = centred(suspect, uncoated)
    assert suspect.features is not None
    assert uncoated.features is not None
    assert found.features is not None
    middle, spread = uncoated.features.mean(axis=0), uncoated.features.std(axis=0, ddof=1)
    np.testing.assert_allclose(
        np.tanh(found.features / 4), np.tanh((suspect.features - middle) / (1.5 * spread))
    )
    np.testing.assert_array_equal(found.scores, suspect.scores)
    assert found.source["centred"]["pictures"] == 60


def test_centring_finds_what_the_kind_of_picture_hides() -> None:
    guilty = paintings(1, lean=1.0)
    plain = verify(guilty, key=known_key())
    sharp = verify(centred(guilty, paintings(2)), key=known_key())
    assert plain.deciding.p_value > 1e-3
    assert sharp.outcome == "coating found"
    clean = verify(centred(paintings(3), paintings(2)), key=known_key())
    assert clean.outcome == "no evidence"


def test_centring_keeps_the_level() -> None:
    """Of an innocent model with another style than the uncoated pictures', too."""
    rng = np.random.default_rng(5)
    p = []
    for seed in range(20):
        own = dataclasses.replace(
            paintings(seed, 30), features=rng.normal(size=(30, 48)) + 2 * rng.normal(size=48)
        )
        features = centred(own, paintings(100 + seed)).features
        assert features is not None
        p += [keyed_test(features, rng.integers(0, 2, 48) * 2 - 1).p_value for _ in range(100)]
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_pictures_with_the_opposite_message_would_accuse_and_are_warned_of() -> None:
    """What was in them is nobody's but the owner's to know."""
    uncoated, own = paintings(2), paintings(3)
    against = dataclasses.replace(uncoated, features=uncoated.features - 6 * SIGNS)
    found = verify(centred(own, against), key=known_key())
    assert found.outcome == "coating found"
    words = "nothing shows what was in the pictures that they were centred by"
    assert [one for one in found.warnings if words in one]
    assert not [one for one in verify(own, key=known_key()).warnings if "centr" in one]


def test_trying_both_ways_is_two_tests() -> None:
    suspect = paintings(1)
    digests = {
        suspect_digest(one)
        for one in (suspect, centred(suspect, paintings(2)), centred(suspect, paintings(3)))
    }
    assert len(digests) == 3


def test_a_report_of_centred_scores_is_checked(tmp_path) -> None:
    found = centred(paintings(1, lean=1.0), paintings(2))
    write_report(verify(found, key=known_key()), found, None, tmp_path)
    checked = check_report(tmp_path, key=known_key(), suspect=found)
    assert checked.sound
    assert "centring" in checked.unchecked
    assert '"centred"' in (tmp_path / "report.json").read_text("utf-8")
    assert not check_report(tmp_path, key=known_key(), suspect=paintings(1, lean=1.0)).sound


@pytest.mark.parametrize(
    ("uncoated", "words"),
    [
        (paintings(2, 19), "at least 20"),
        (paintings(1), "are also among the suspect's"),
        (drawn(5, seed=2, features=None), "can be centred"),
        (drawn(5, seed=2, coater="cd" * 32), "different coaters"),
        (centred(paintings(4), paintings(2)), "already been centred"),
    ],
)
def test_what_does_not_fit_is_refused(uncoated: ScoreSet, words: str) -> None:
    with pytest.raises(ScoreError, match=words):
        centred(paintings(1), uncoated)
