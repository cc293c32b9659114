"""Checks of passive reports: honest ones match, and changed ones are found out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from support.passive_reports import completions, written
from support.reports import edit, resealed, states

from siren_ext.passive.judge import KeyedEvidence
from siren_ext.report.check import check_report


def test_an_honest_report_matches(tmp_path: Path) -> None:
    written(tmp_path, trained=0.3)
    found = check_report(tmp_path)
    assert states(found) == {
        "files": "matches",
        "signature": "not checked",
        "figures": "matches",
        "verdict": "matches",
        "page": "matches",
    }


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"unlike": 2.0, "trained": 0.3},
        {"mode": "default", "evidence": "difference", "trained": 0.3},
        {"notes": ("/home/x/y.png is odd.", "a note")},
        {"evidence": "plain"},
    ],
)
def test_every_kind_of_verdict_is_computed_again(tmp_path: Path, values: dict[str, Any]) -> None:
    written(tmp_path, **values)
    assert check_report(tmp_path).sound
    assert states(check_report(tmp_path))["page"] == "matches"


def test_a_keyed_verdict_must_be_checked_by_itself(tmp_path: Path) -> None:
    written(tmp_path, keyed=KeyedEvidence("no evidence", 0.3, 1e-6, "b" * 64))
    found = check_report(tmp_path)
    assert states(found)["keyed verdict"] == "not checked"
    assert "b" * 64 in found.points[-1].text


@pytest.mark.models
def test_completed_pictures_are_kept_but_not_judged(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    written(tmp_path, shown=completions())
    found = check_report(tmp_path)
    assert found.sound
    assert (states(found)["page"], states(found)["pictures"]) == ("matches", "not checked")
    resealed(tmp_path, lambda data: data["completions"][0].update(suspect_psnr=60.0))
    assert states(check_report(tmp_path))["page"] == "differs"
    resealed(tmp_path, lambda data: data["completions"][0].update(masked="javascript:alert(1)"))
    assert states(check_report(tmp_path))["figures"] == "differs"


def changes() -> dict[str, tuple[Any, str]]:
    """Edits of the record, and the point that must differ."""

    def at(*names: Any, value: Any) -> Any:
        def change(data: dict[str, Any]) -> None:
            for name in names[:-1]:
                data = data[name]
            data[names[-1]] = value

        return change

    return {
        "p": (at("verdict", "comparison", "p_value", value=1e-6), "figures"),
        "outcome": (at("verdict", "outcome", value="training found"), "verdict"),
        "headline": (at("verdict", "headline", value="Guilty."), "verdict"),
        "warnings": (at("verdict", "warnings", value=["x"]), "verdict"),
        "control": (at("verdict", "controls", 0, "adjusted", value=0.9), "figures"),
        "share": (at("verdict", "share", "low", value=0.9), "figures"),
        "seed": (at("verdict", "settings", "seed", value=7), "figures"),
        "feature": (at("published", "rows", 3, "values", 20, value=-40.0), "figures"),
        "looks": (at("published_looks", 0, 0, value=500.0), "figures"),
        "settings": (at("verdict", "settings", value=3), "figures"),
        "mode": (at("verdict", "settings", "mode", value="official"), "figures"),
        "nan": (at("published", "rows", 3, "values", value=[]), "figures"),
        "unequal looks": (at("published_looks", 0, value=[1.0]), "figures"),
    }


@pytest.mark.parametrize("name", changes())
def test_changed_figures_are_found_even_with_a_new_seal(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    change, point = changes()[name]
    resealed(tmp_path, change)
    found = check_report(tmp_path)
    assert states(found)["files"] == "matches"
    assert states(found)[point] == "differs"


def test_changed_files_and_pages_are_found(tmp_path: Path) -> None:
    paths = written(tmp_path)
    edit(tmp_path, lambda data: data["verdict"].update(headline="Guilty."))
    assert states(check_report(tmp_path))["files"] == "differs"
    written(tmp_path)
    text = paths.html.read_text().replace("no evidence", "training found")
    paths.html.write_text(text)
    found = states(check_report(tmp_path))
    assert (found["files"], found["page"]) == ("differs", "differs")


def test_too_much_work_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.setattr("siren_ext.report.passive_check.MOST_WORK", 1000)
    found = states(check_report(tmp_path))
    assert found["figures"] == found["verdict"] == found["page"] == "not checked"


def test_image_files_are_compared(tmp_path: Path) -> None:
    written(tmp_path / "report")
    other = tmp_path / "other.png"
    other.write_bytes(b"x")
    found = check_report(tmp_path / "report", images=[other])
    assert states(found)["images"] == "differs"


def test_damaged_reports_are_refused_in_words(tmp_path: Path) -> None:
    written(tmp_path)
    good = json.loads((tmp_path / "report.json").read_text())
    for name in good:
        if name == "format":
            continue
        for value in (None, 3, "x", [], {}):
            broken = copy.deepcopy(good) | {name: value}
            (tmp_path / "report.json").write_text(json.dumps(broken))
            check_report(tmp_path)
