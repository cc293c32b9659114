"""The same pictures in several formats count once, in every test, and a report says so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from support.evidence_samples import SIGNS, known_key
from support.reports import resealed, states, texts
from support.score_sets import drawn, unlike_hashes

from siren_ext.report.check import check_report
from siren_ext.report.write import write_report
from siren_ext.scoring.centre import centred
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.verdict.verify import Verdict, verify


def again(scores: ScoreSet, times: int = 4, **changes: Any) -> ScoreSet:
    """Each picture in so many files, with nearly the same score, features and hash."""
    rng = np.random.default_rng(7)
    phashes = scores.phashes or ()
    parts = [
        dataclasses.replace(
            scores,
            scores=scores.scores + 0.01 * turn,
            hashes=tuple(f"{turn}{digest[1:]}" for digest in scores.hashes),
            features=None
            if scores.features is None
            else scores.features + 0.1 * turn * rng.normal(size=scores.features.shape),
            phashes=tuple(f"{int(one, 16) ^ (2**turn - 1):064x}" for one in phashes) or None,
        )
        for turn in range(times)
    ]
    return dataclasses.replace(
        ScoreSet.concat(parts), **{"source": scores.source, "control": None} | changes
    )


def figures(verdict: Verdict) -> list[dict[str, Any]]:
    """All findings but for digests."""
    return [finding.to_dict() for finding in verdict.findings]


def test_pictures_saved_four_times_count_once_in_every_test() -> None:
    own, clean = drawn(9.5, 30, seed=1, lean=SIGNS), drawn(10, 120, seed=2, features=None)
    own = dataclasses.replace(own, control=None)
    others = [drawn(10, 30, seed=seed, features=None) for seed in (3, 4)]
    once = verify(own, clean, key=known_key(), innocents=others)
    four = verify(
        again(own), again(clean), key=known_key(), innocents=[again(one) for one in others]
    )
    assert figures(four) == figures(once)
    assert (four.finding.n, four.finding.m) == (30, 120)
    assert [one.near for one in four.copies.values()] == [90, 360, 180]
    assert "Of the 120 suspect images, 90 are near copies of others" in " ".join(four.warnings)
    assert "Of the 480 reference images, 360 are near copies" in " ".join(four.warnings)
    assert "180 images are copies of others of the same innocent" in " ".join(four.warnings)
    assert "near cop" not in " ".join(once.warnings).lower()


def test_without_hashes_they_could_not_be_looked_for() -> None:
    own, clean = drawn(9.5, 30, features=None), drawn(10, 120, seed=2, features=None)
    copied = again(own, phashes=None)
    verdict = verify(copied, clean)
    assert verdict.finding.n == 120
    assert (
        "Near copies (the same picture in another format, size or quality) could not be looked for "
        "among the images of the suspect: the scores have no perceptual hashes. To have them, "
        "score the images again."
    ) in verdict.warnings
    assert not verdict.copies["suspect"].looked


def test_uncoated_pictures_count_once() -> None:
    uncoated = drawn(5, 40, seed=8)
    own = drawn(5, 30, seed=9)
    for found in (centred(own, uncoated), centred(own, again(uncoated))):
        assert found.features is not None
        np.testing.assert_array_equal(found.features, centred(own, uncoated).features)


def test_a_check_recomputes_how_many_were_left_out(tmp_path: Path) -> None:
    own, clean = again(drawn(9.5, 30, features=None)), drawn(10, 120, seed=2, features=None)
    write_report(verify(own, clean), own, clean, tmp_path)
    found = check_report(tmp_path)
    assert found.sound
    assert texts(found)["copies"] == "0 exact and 90 near copies are left out, as the report says"
    assert "90 are near copies of others" in (tmp_path / "report.html").read_text()
    before = (tmp_path / "report.json").read_text()

    def other_number(data: dict[str, Any]) -> None:
        data["verdict"]["copies"]["suspect"]["near"] = 3

    def other_hashes(data: dict[str, Any]) -> None:
        for image, phash in zip(data["suspect"]["images"], unlike_hashes(120), strict=True):
            image["phash"] = phash

    for change in (other_number, other_hashes):
        (tmp_path / "report.json").write_text(before)
        assert states(resealed(tmp_path, change))["copies"] == "differs"
    older = dataclasses.replace(own, phashes=None)
    write_report(verify(older, clean), older, clean, tmp_path)
    assert states(check_report(tmp_path))["copies"] == "not checked"
