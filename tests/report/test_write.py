"""The report: complete, self-contained, safe against hostile names, honest about settings."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.reports import Page, evidence, save, written
from support.score_sets import normal, pool

from siren_ext.files import sha256_file
from siren_ext.report.pictures import CoatEvidence
from siren_ext.report.write import environment, stored
from siren_ext.scoring.score_set import FIELD, ScoreSet
from siren_ext.verdict.config import VerifyConfig
from siren_ext.verdict.verify import verify

HOSTILE = "<img src=x onerror=alert(1)>\"'&\u202egnp.exe"


def test_page_and_json_tell_the_whole_finding(suspect, reference, tmp_path):
    verdict, html, data = written(suspect, reference, tmp_path / "report")
    finding = verdict.finding
    text = Page(html).text
    for words in (
        "scores lower than this reference",
        verdict.headline,
        f"{finding.statistic:.4f}",
        f"{finding.p_value:.3g}",
        f"{finding.smallest_p:.3g}",
        "1e-06",
        "40 against 120",
        "p, one-sided, exact",
        "What this does not prove",
        "ab" * 32,
        "numpy",
        "a dog",
        *verdict.does_not_prove,
    ):
        assert words in text
    assert data["verdict"] == verdict.to_dict()
    np.testing.assert_array_equal([i["score"] for i in data["suspect"]["images"]], suspect.scores)
    assert [i["sha256"] for i in data["reference"]["images"]] == list(reference.hashes)
    assert data["reference"]["source"] == reference.source
    assert data["environment"] == environment()
    assert {"Python", "system", "torch", "numpy", "scipy"} <= set(environment())


def test_the_test_can_be_repeated_from_the_json_alone(suspect, reference, tmp_path):
    verdict, _, data = written(suspect, reference, tmp_path, config=VerifyConfig(alpha=1e-3))
    pools = (ScoreSet.from_dict(data["suspect"]), ScoreSet.from_dict(data["reference"]))
    config = VerifyConfig.from_dict(data["verdict"]["settings"])
    assert verify(*pools, config) == verdict


@pytest.mark.parametrize("config", [VerifyConfig(), VerifyConfig(two_sided=True)])
@pytest.mark.parametrize(
    ("scores", "others"),
    [
        ([1.0], [2.0]),
        ([3.0] * 5, [3.0] * 7),
        (normal(12, 40, 1), normal(10, 100, 0)),
        ([0], [1] * 9),
    ],
)
def test_extreme_pools_still_give_a_page(scores, others, config, tmp_path):
    verdict, html, _ = written(pool(scores), pool(others, 500), tmp_path, config=config)
    assert verdict.outcome in Page(html).text
    for warning in verdict.warnings:
        assert warning in Page(html).text


def test_nothing_outside_is_needed_and_nothing_runs(suspect, reference, tmp_path):
    coated = CoatEvidence(tuple(evidence(tmp_path)))
    _, html, _ = written(suspect, reference, tmp_path / "out", coated=coated)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "data", "action"):
            assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?#)", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html


def test_hostile_text_stays_text(reference, tmp_path):
    files = [save(tmp_path / f"{i}.png", i) for i in range(3)]
    suspect = pool(
        [1.0, 2.0, 3.0],
        names=(HOSTILE, "{{ 7*7 }}.png", "$\\frac{a}{b}$.png"),
        hashes=tuple(sha256_file(f) for f in files),
        source={"prompts": [HOSTILE, "</pre></style><script>alert(2)</script>"], HOSTILE: 1},
        failures=((HOSTILE, HOSTILE),),
    )
    _, html, _ = written(
        suspect,
        reference,
        tmp_path / "out",
        mimicries=files,
        extra={HOSTILE: [HOSTILE, "\ud800", float("nan"), tmp_path]},
        coated=CoatEvidence(((files[0], files[1]),), HOSTILE),
    )
    page = Page(html)
    assert "script" not in page.tags
    assert not [a for a in page.attributes if a[1].startswith("on")]
    assert not [a for a in page.attributes if a[1] == "src" and not a[2].startswith("data:image/")]
    assert "onerror=alert(1)" in page.text
    assert "\u202e" not in html
    assert "{{ 7*7 }}.png" in page.text


def test_long_pools_are_cut_in_the_page_but_whole_in_the_json(tmp_path):
    _, html, data = written(pool(normal(5, 900, 1)), pool(normal(9, 400, 2), 5000), tmp_path)
    assert "600 more are in report.json" in Page(html).text
    assert len(data["suspect"]["images"]) == 900


def test_learnt_fields_and_features_stay_out_of_reports():
    source = {"kind": "preference", FIELD: {"direction": "AAAA", "images": "AAAA"}}
    names = ("a.png", "b.png", "c.png")
    scores = ScoreSet(np.zeros(3), names, ("", "", ""), "c" * 64, source, features=np.ones((3, 4)))
    kept = stored(scores)
    assert kept["source"] == {"kind": "preference"}
    assert "features" not in kept["images"][0]
    assert FIELD in scores.source
