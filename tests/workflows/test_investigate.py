"""From a suspect to a report in one go."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.investigated import (
    ALPHA,
    PLAN,
    Imitator,
    Reader,
    box,
    clean_scores,
    imitate_samples,
    shades,
)
from support.standin_a1111 import A1111Standin
from support.standins import running

from siren_ext.coater.bundled import coater_path
from siren_ext.coater.coater import Coater
from siren_ext.data.image_files import list_images
from siren_ext.errors import ConfigError, ScoreError
from siren_ext.evidence.counting import FiledKey
from siren_ext.keys.coating_key import CoatingKey
from siren_ext.report.check import check_report
from siren_ext.report.write import ReportPaths
from siren_ext.samples.folder import sample_folder
from siren_ext.scoring.appearance import MIN_IMAGES
from siren_ext.scoring.score_set import ScoreSet
from siren_ext.suspects.base import generate_images
from siren_ext.suspects.folder import FolderSuspect
from siren_ext.suspects.remote import RequestLimits
from siren_ext.suspects.responses import SuspectError
from siren_ext.verdict.outcomes import LOWER, NO_DIFFERENCE
from siren_ext.workflows.investigate import _EarlyStop, investigate


@pytest.fixture(scope="module")
def coater() -> Coater:
    return Coater.load(coater_path("samples"))


@pytest.fixture(scope="module")
def imitator(coater: Coater) -> Imitator:
    return imitate_samples(coater)


@pytest.fixture
def ui(imitator: Imitator) -> Iterator[Any]:
    with running(A1111Standin(imitator)) as standin:
        yield standin


@pytest.fixture
def plain_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """No charts: for tests that look at other things than the report."""
    paths = ReportPaths(Path("report.html"), Path("report.json"))
    monkeypatch.setattr("siren_ext.report.write.write_report", lambda *a, **k: paths)


@pytest.fixture(scope="module")
def clean(imitator: Imitator, coater: Coater, tmp_path_factory: pytest.TempPathFactory) -> ScoreSet:
    return clean_scores(imitator, coater, tmp_path_factory.mktemp("clean"))


def test_guilty_and_innocent(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    out = tmp_path / "guilty"
    found = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, out, ALPHA)
    assert found.verdict.outcome == LOWER
    assert len(found.suspect) == PLAN.count
    assert found.missed == ()
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["verdict"]["outcome"] == LOWER
    assert report["suspect"]["source"]["provenance"]["suspect"]["adapter"]["file"] == "stolen"
    asked = ui.draw.drawn
    again = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, out, ALPHA)
    assert ui.draw.drawn == asked  # pictures and scores are kept
    assert np.array_equal(again.suspect.scores, found.suspect.scores)

    innocent = investigate(box(ui), clean, coater, PLAN, tmp_path / "innocent", ALPHA)
    assert innocent.verdict.outcome == NO_DIFFERENCE


@pytest.mark.usefixtures("plain_report")
def test_a_reference_that_is_asked_for_the_same(ui: Any, coater: Coater, tmp_path: Path) -> None:
    found = investigate(box(ui, "?lora=stolen"), box(ui), coater, PLAN, tmp_path, ALPHA)
    assert found.verdict.outcome == LOWER
    plans = [pool.source["provenance"]["plan"] for pool in (found.suspect, found.reference)]
    assert plans[0] == plans[1]
    assert (tmp_path / "reference.json").is_file()


def test_folders_stay_where_they_are(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    generate_images(box(ui, "?lora=stolen"), PLAN, tmp_path / "theirs")
    theirs = FolderSuspect(tmp_path / "theirs")
    found = investigate(theirs, clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert found.verdict.outcome == LOWER
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report", "suspect.json"]
    with pytest.raises(ConfigError, match="generates images on request"):
        investigate(theirs, clean, coater, PLAN, tmp_path / "o", ALPHA, stop_early=True)


@pytest.mark.usefixtures("plain_report")
def test_missed_pictures_are_told(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    ui.faults = ["", "black"]
    found = investigate(box(ui), clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert len(found.suspect) == PLAN.count - 1
    assert [name for name, _ in found.missed] == ["suspect/00001.png"]


@pytest.mark.usefixtures("plain_report")
def test_stopped_run_goes_on(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    stingy = box(ui, "?lora=stolen", RequestLimits(backoff=0, requests=9))
    with pytest.raises(SuspectError, match="limit of 9"):
        investigate(stingy, clean, coater, PLAN, tmp_path / "out", ALPHA)
    before = ui.draw.drawn
    found = investigate(box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "out", ALPHA)
    assert found.verdict.outcome == LOWER
    assert ui.draw.drawn - before == PLAN.count - 8 + 1  # and the adapter is checked again


def test_a_near_copy_is_not_tested_again(coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    test = _EarlyStop(coater, clean, ALPHA.alpha)
    for name, options in (("a.png", {}), ("b.jpg", {"quality": 90}), ("c.webp", {"quality": 90})):
        picture = Image.open(sorted(sample_folder().glob("*.png"))[0]).convert("RGB")
        picture.save(tmp_path / name, **options)
        test.feed(tmp_path / name)
    assert test.result.images == 1


@pytest.mark.usefixtures("plain_report")
def test_stop_early(ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path) -> None:
    guilty = investigate(
        box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "g", ALPHA, stop_early=True
    )
    assert guilty.sequential is not None
    assert guilty.sequential.rejected
    assert guilty.verdict.outcome == LOWER
    assert len(guilty.suspect) == guilty.sequential.images < PLAN.count
    assert len(guilty.suspect) >= MIN_IMAGES > guilty.sequential.stopped_at, "or not comparable"
    assert len(list_images(tmp_path / "g" / "suspect")) == len(guilty.suspect)
    assert guilty.sequential.p_value <= ALPHA.alpha
    assert "only the sequential test counts" in guilty.verdict.warnings[0]
    checked = {one.name: one.state for one in check_report(tmp_path / "g" / "report").points}
    assert (checked["verdict"], checked["page"]) == ("matches", "matches")
    drawn = ui.draw.drawn
    again = investigate(
        box(ui, "?lora=stolen"), clean, coater, PLAN, tmp_path / "g", ALPHA, stop_early=True
    )
    assert again.sequential == guilty.sequential
    assert ui.draw.drawn == drawn
    innocent = investigate(box(ui), clean, coater, PLAN, tmp_path / "i", ALPHA, stop_early=True)
    assert innocent.verdict.outcome == NO_DIFFERENCE
    assert len(innocent.suspect) == PLAN.count


@pytest.mark.usefixtures("plain_report")
def test_too_few_pictures_for_the_sequential_test(ui, coater, clean, tmp_path: Path) -> None:
    plan = dataclasses.replace(PLAN, count=3)
    found = investigate(box(ui), clean, coater, plan, tmp_path / "o", ALPHA, stop_early=True)
    assert found.verdict.outcome == "inconclusive"


def test_scores_of_another_coater(ui: Any, coater: Coater, clean: ScoreSet, tmp_path) -> None:
    other = dataclasses.replace(clean, coater="0" * 64)
    with pytest.raises(ScoreError, match="another coater"):
        investigate(box(ui), other, coater, PLAN, tmp_path / "o", ALPHA)


def test_a_key_needs_no_reference(tmp_path: Path) -> None:
    key = CoatingKey.draw(48)
    reader = Reader(key.signs())
    plan = dataclasses.replace(PLAN, count=8)
    with running(A1111Standin(shades)) as ui:
        found = investigate(
            box(ui, "?lora=stolen"), None, reader, plan, tmp_path / "g", ALPHA, key=key
        )
        assert (found.verdict.outcome, found.verdict.test) == ("coating found", "keyed")
        assert found.reference is None
        assert found.suspect.features is not None
        text = (tmp_path / "g" / "report" / "report.json").read_text()
        assert "features" not in json.loads(text)["suspect"]["images"][0]
        assert [f["test"] for f in json.loads(text)["verdict"]["findings"]] == ["keyed"]
        innocent = investigate(box(ui), None, reader, plan, tmp_path / "i", ALPHA, key=key)
        assert innocent.verdict.outcome == "inconclusive", "it reads, but writes nothing"
        assert innocent.verdict.deciding.p_value > 1e-3
        assert "This coater can't read pictures of this kind" in innocent.verdict.headline
        both = investigate(
            box(ui, "?lora=stolen"), box(ui), reader, plan, tmp_path / "b", ALPHA, key=key
        )
        assert {finding.test for finding in both.verdict.findings} == {"keyed", "ks"}


def test_tests_of_a_filed_key_are_counted(tmp_path: Path) -> None:
    key = FiledKey(CoatingKey.draw(48), tmp_path / "keys.json", 1)
    reader = Reader(key.signs())
    plan = dataclasses.replace(PLAN, count=8)
    with running(A1111Standin(shades)) as ui:
        for number, query in enumerate(("?lora=stolen", ""), start=1):
            out = tmp_path / str(number)
            found = investigate(box(ui, query), None, reader, plan, out, ALPHA, key=key)
            assert found.verdict.precedence.number == number
            assert found.verdict.config.price == number * (number + 1)
            text = found.verdict.precedence.text
            assert f"This is test {number} of the key file" in text
            assert ("There was no ledger" in text) == (number == 1)


def test_impossible_tests_are_refused_before_anything_is_asked_for(
    ui: Any, coater: Coater, clean: ScoreSet, tmp_path: Path
) -> None:
    key = CoatingKey.draw(48)
    reader = Reader(key.signs())
    asked = ui.draw.drawn
    with pytest.raises(ConfigError, match="Neither"):
        investigate(box(ui), None, coater, PLAN, tmp_path, ALPHA)
    with pytest.raises(ConfigError, match="carry no message"):
        investigate(box(ui), None, coater, PLAN, tmp_path, ALPHA, key=key)
    with pytest.raises(ConfigError, match=r"40 bits.*messages of 48 bits"):
        investigate(box(ui), None, reader, PLAN, tmp_path, ALPHA, key=CoatingKey.draw(40))
    with pytest.raises(ConfigError, match="and no key"):
        investigate(box(ui), None, reader, PLAN, tmp_path, ALPHA, key=key, stop_early=True)
    assert ui.draw.drawn == asked
    assert list(tmp_path.iterdir()) == []
