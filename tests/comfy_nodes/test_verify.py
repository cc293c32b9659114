"""Scores, verdicts and reports on a stand-in host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fake_host import FakeHost, batch, nodes_of_pack, run
from support.score_sets import pool

from siren_ext.coater.coater import Coater
from siren_ext.report.check import check_report
from siren_ext.scoring.score import score_images
from siren_ext.verdict.models import models_of


def test_scores_travel(host: FakeHost, coater: Coater, pictures: Path) -> None:
    found = nodes_of_pack()
    images = batch(pictures)
    scores, mean = run(
        found["SirenScoreCoating"],
        coater=[coater],
        image=[images[:1], images[1:]],
        prompts=["a cat\na dog", "a cat"],
    ).args
    expected = score_images(sorted(pictures.glob("*.png")), coater)
    np.testing.assert_allclose(scores.scores, expected.scores, rtol=0, atol=1e-6)
    assert mean == pytest.approx(expected.scores.mean())
    assert scores.source["prompts"] == ["a cat", "a dog"]
    (name,) = run(found["SirenSaveScores"], scores=scores, save_as="pool").args
    load = found["SirenLoadScores"]
    (options,) = [part.options["options"] for part in load.define_schema().inputs]
    assert options == [name]
    assert np.array_equal(run(load, name=name).args[0].scores, scores.scores)
    assert "no score file" in str(load.validate_inputs(name="gone.json"))


def test_scores_in_subfolders_are_listed_and_loaded(host: FakeHost) -> None:
    found = nodes_of_pack()
    scores = pool(np.linspace(0, 1, 30), hashed=False, source={})
    saved = run(found["SirenSaveScores"], scores=scores, save_as="a/b/pool")
    assert saved.args == ("a/b/pool_00001.json",)
    assert saved.ui["text"] == list(saved.args)
    report = host.base / "output" / "siren" / "report_00001" / "report.json"
    report.parent.mkdir()
    report.write_text('{"format": "siren_ext.report"}')
    given = host.base / "input" / "siren" / "c" / "pool.json"
    given.parent.mkdir(parents=True)
    scores.save(given)
    load = found["SirenLoadScores"]
    (options,) = [part.options["options"] for part in load.define_schema().inputs]
    assert set(options) == {"a/b/pool_00001.json", "c/pool.json"}  # and no reports
    for name in options:
        assert load.validate_inputs(name=name) is True
        assert np.array_equal(run(load, name=name).args[0].scores, scores.scores)


def test_verdict_plot_and_report(host: FakeHost) -> None:
    found = nodes_of_pack()
    suspect, reference = (
        pool(np.linspace(*ends), hashed=False, source={}) for ends in ((0, 1, 30), (2, 3, 100))
    )
    case, p, gap, plot, text = run(
        found["SirenKSVerify"], suspect=suspect, reference=reference, alpha=1e-6
    ).args
    assert case.verdict.outcome == "scores lower than this reference"
    assert p < 1e-20
    assert gap == 1.0
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert 0.02 < float((plot < 0.9).float().mean()) < 0.5
    assert text.startswith("SCORES LOWER THAN THIS REFERENCE: The suspicious")
    assert "Limit: It does not say who owns the images" in text
    (page,) = run(found["SirenVerificationReport"], verdict=case, save_as="case/a").args
    assert page == "case/a_00001/report.html"
    assert (host.base / "output" / page).read_text().startswith("<!")


def test_several_references_are_compared_as_models(host: FakeHost) -> None:
    found = nodes_of_pack()
    compare = found["SirenKSVerify"]
    suspect, *clean = (
        pool(np.linspace(first, first + 1, 30), hashed=False, source={})
        for first in (0, 2, 2.01, 2.02, 2.03)
    )
    names = [
        run(found["SirenSaveScores"], scores=one, save_as="clean").args[0] for one in clean[1:]
    ]
    text = "\n".join(["", *names, " "])
    assert compare.validate_inputs(more_references=text) is True
    assert compare.validate_inputs(more_references=None) is True
    assert "no score file 'gone.json'" in str(compare.validate_inputs(more_references="gone.json"))
    assert "can't be used as a name" in str(compare.validate_inputs(more_references="../a.json"))
    case, p, gap, plot, words = run(
        compare, suspect=suspect, reference=clean[0], alpha=1e-2, more_references=text
    ).args
    assert [one.test for one in case.verdict.findings] == ["models", "ks"]
    assert case.verdict.outcome == "scores lower than these innocent models"
    assert p == case.verdict.deciding.p_value != case.verdict.finding.p_value
    assert gap == 1.0
    assert plot.ndim == 4
    assert "Beside it, comparison with a reference model: scores lower than this refe" in words
    assert [len(one) for one in models_of(case.reference)] == [30] * 4
    (page,) = run(found["SirenVerificationReport"], verdict=case, save_as="case/b").args
    assert check_report((host.base / "output" / page).parent).sound
