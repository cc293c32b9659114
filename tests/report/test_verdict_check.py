"""The verdict that a report states is compared whole, whichever test decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.evidence_samples import SIGNS, known_key
from support.reports import resealed, states, texts
from support.score_sets import drawn

from siren_ext.report import verdict_check
from siren_ext.report.check import check_report
from siren_ext.report.keyed_before import keyed_before
from siren_ext.report.write import write_report
from siren_ext.scoring.appearance import EarlierContrast
from siren_ext.stats.sequential import sequential_ks
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.one_by_one import sequential_verdict
from siren_ext.verdict.outcomes import LOWER
from siren_ext.verdict.verify import verify
from siren_ext.verdict.wording import odds

REFERENCE = drawn(10, 110, seed=1, features=None)
SUSPECT = drawn(5, features=None)
STANDING = sequential_ks(SUSPECT.scores, REFERENCE.scores, alpha=1e-6)
EXTRA = {"sequential": STANDING.to_dict()}


@pytest.fixture
def report(tmp_path):
    """As an investigation writes it that stopped early."""
    verdict = sequential_verdict(verify(SUSPECT, REFERENCE), STANDING, len(REFERENCE))
    assert verdict.outcome == LOWER
    write_report(verdict, SUSPECT, REFERENCE, tmp_path, extra=EXTRA)
    return tmp_path


def test_a_sequential_verdict_is_computed_again(report):
    found = check_report(report)
    assert found.sound
    assert states(found)["page"] == "matches"
    assert "what the sequential test gives" in texts(found)["verdict"]
    found = resealed(report, lambda d: d["extra"]["sequential"].update(p_value=0.5))
    assert "extra.sequential.p_value is 0.5" in texts(found)["verdict"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outcome", "no evidence"),
        ("outcome", "coating found"),
        ("headline", "The coating was found beyond any doubt."),
        ("warnings", []),
        ("does_not_prove", ["nothing"]),
    ],
)
def test_every_word_of_a_sequential_verdict_is_compared(report, name, value):
    found = resealed(report, lambda d: d["verdict"].update({name: value}))
    assert states(found)["verdict"] == "differs"
    assert f"verdict.{name}" in texts(found)["verdict"]


def test_the_page_of_a_sequential_verdict_is_compared(report):
    page = report / "report.html"
    text = page.read_text("utf-8")
    page.write_text(text.replace("score lower than this reference", "are guilty"), "utf-8")
    assert states(resealed(report, lambda d: None))["page"] == "differs"


def test_an_innocent_model_is_not_made_guilty_by_a_sequential_object(tmp_path):
    own = drawn(10, seed=3, features=None)
    standing = sequential_ks(own.scores, REFERENCE.scores, alpha=1e-6)
    write_report(verify(own, REFERENCE), own, REFERENCE, tmp_path)
    assert check_report(tmp_path).sound

    def change(data):
        data["extra"]["sequential"] = standing.to_dict()
        data["verdict"].update(outcome="coating found", warnings=[])

    found = resealed(tmp_path, change)
    assert "verdict.outcome is coating found" in texts(found)["verdict"]
    found = resealed(tmp_path, lambda d: d["extra"].update(sequential={"p_value": 1.0}))
    assert "extra.sequential has no images" in texts(found)["verdict"]


def test_a_sequential_object_replaces_no_keyed_test(tmp_path):
    own = drawn(5, lean=SIGNS)
    verdict = verify(own, REFERENCE, key=known_key())
    write_report(verdict, own, REFERENCE, tmp_path, extra=EXTRA)
    found = check_report(tmp_path)
    assert "what these figures give" in texts(found)["verdict"]
    found = resealed(tmp_path, lambda d: d["verdict"].update(headline="Guilty."))
    assert states(found)["verdict"] == "differs"


def test_too_many_images_leave_the_sequential_p_open_and_nothing_else(report, monkeypatch):
    monkeypatch.setattr(verdict_check, "PATH_LIMIT", 10)
    found = check_report(report)
    assert states(found)["verdict"] == "not checked"
    found = resealed(report, lambda d: d["verdict"].update(headline="Guilty."))
    assert states(found)["verdict"] == "differs"


def test_a_sequential_find_among_unlike_pictures_is_no_find(tmp_path):
    looks = np.random.default_rng(3).normal(0, 1, (150, 8))
    dark = dataclasses.replace(SUSPECT, looks=looks[:40] - 5)
    bright = dataclasses.replace(REFERENCE, looks=looks[40:])
    standing = sequential_ks(dark.scores, bright.scores, alpha=1e-6)
    assert standing.rejected
    verdict = sequential_verdict(verify(dark, bright), standing, len(bright))
    assert verdict.outcome == "not comparable"
    assert "look unlike" in verdict.headline
    write_report(verdict, dark, bright, tmp_path, extra={"sequential": standing.to_dict()})
    assert check_report(tmp_path).sound
    found = resealed(tmp_path, lambda d: d["verdict"].update(outcome=LOWER))
    assert "verdict.outcome is scores lower than" in texts(found)["verdict"]


def test_no_find_that_an_old_version_alone_would_state_is_confirmed(tmp_path):
    """A report may say that it is old; then nothing but its outcome can be compared."""
    write_report(verify(SUSPECT, REFERENCE), SUSPECT, REFERENCE, tmp_path)

    def change(data):
        data["verdict"].update(wording=2, outcome="coating found", headline="Guilty.", warnings=[])
        for one in data["verdict"]["findings"]:
            one["outcome"] = "coating found"
            apart = [one["contrast"][name] for name in ("share", "n", "m", "words")]
            one["contrast"] = EarlierContrast(*apart).to_dict()

    found = resealed(tmp_path, change)
    assert states(found)["verdict"] == "not checked"
    assert f"by today's rules they give '{LOWER}'" in texts(found)["verdict"]
    found = resealed(tmp_path, lambda d: d["verdict"].update(outcome="no evidence"))
    assert states(found)["verdict"] == "differs"


def test_a_seed_of_random_messages_that_suits_decides_nothing(tmp_path):
    """A report may say that it is old, with the seed by which fewest random messages fit."""
    suspect, key, alpha = drawn(5, lean=0.12 * SIGNS), known_key(), 2e-3
    verdict = verify(suspect, None, VerifyConfig(alpha=alpha), key=key)
    assert verdict.outcome == "no evidence"
    assert alpha < verdict.deciding.p_value < 5 * alpha
    write_report(verdict, suspect, None, tmp_path)
    tries = ({"decoys": 1000, "decoy_seed": seed} for seed in range(2000))
    chosen, old = next(
        (settings, found)
        for settings in tries
        if (found := keyed_before(suspect, key, settings, alpha)).outcome == "coating found"
    )

    def change(data):
        stated = data["verdict"]
        settings = {name: value for name, value in stated["settings"].items() if name != "price"}
        stated.update(wording=2, outcome="coating found", settings=settings | chosen)
        stated.update(findings=[old.to_dict()], p_in_words=odds(old.p_value))

    resealed(tmp_path, change)
    for given in ({}, {"key": key, "suspect": suspect}):
        found = check_report(tmp_path, **given)
        assert found.sound
        assert states(found)["verdict"] == "not checked"
        assert "by today's rules they give 'no evidence'" in texts(found)["verdict"]
