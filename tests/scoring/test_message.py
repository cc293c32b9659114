"""With the key, the score of a picture is its distance to the message's centre."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.evidence_samples import SIGNS, known_key
from support.reports import states
from support.score_sets import BITS, drawn

from siren_ext.coater.hypersphere import hsc_distance, message_centre
from siren_ext.errors import ScoreError
from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.message import message_scores
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.findings import ks_finding
from siren_ext.verdict.verify import verify


def features(seed: int, n: int = 60, lean: float = 0.0) -> ScoreSet:
    """Samples whose nearest centre is that of a random message, or that lean to the key's."""
    rng = np.random.default_rng(seed)
    given = 3 * rng.normal(size=(n, BITS)) + lean * SIGNS
    return drawn(5, n, seed=seed, features=given)


def test_it_is_the_distance_of_the_coater() -> None:
    pool = features(1)
    found = message_scores(pool, SIGNS)
    assert found is not None
    given, signs = torch.tensor(pool.features), torch.tensor(np.asarray(SIGNS, dtype=float))
    wanted = hsc_distance(given, message_centre(signs))
    np.testing.assert_allclose(found.scores, wanted.numpy())
    assert message_scores(dataclasses.replace(pool, features=None, control=None), SIGNS) is None
    assert message_scores(dataclasses.replace(pool, source={"centred": {}}), SIGNS) is None
    with pytest.raises(ScoreError, match="48 bits; use the key"):
        message_scores(pool, SIGNS[:40])


def test_coated_pictures_are_nearer_to_their_message() -> None:
    clean, coated = features(2, 120), features(3, lean=1.0)
    with_key = ks_finding(coated, clean, 1e-6, key=known_key())
    assert with_key.p_value > 0.01, "the plain scores are those of the same model"
    assert with_key.by_message is not None
    assert with_key.by_message <= 1e-6
    assert np.log10(with_key.by_message) == pytest.approx(round(np.log10(with_key.by_message)))
    innocent = ks_finding(features(4), clean, 1e-6, key=known_key())
    assert innocent.by_message in (0.1, 1.0)
    assert ks_finding(coated, clean, 1e-6).by_message is None
    assert with_key.outcome == ks_finding(coated, clean, 1e-6).outcome


def test_a_report_shows_it_without_the_distances(tmp_path: Path) -> None:
    own, clean = features(3, lean=1.0), features(2, 120)
    verdict = verify(own, clean, key=known_key())
    assert verdict.test == "keyed"
    write_report(verdict, own, clean, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "p by the message's centre" in page
    found = check_report(tmp_path)
    assert found.sound
    assert states(found)["message's centre"] == "not checked"
    assert states(found)["page"] == states(found)["figures"] == "matches"
    kept = (tmp_path / "report.json").read_text()
    secret = message_scores(own, SIGNS)
    assert secret is not None
    assert not any(f"{score:.5f}" in kept + page for score in secret.scores)
