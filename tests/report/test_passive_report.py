"""Reports on images that were never coated: what the page says, and what it leaves out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.passive_reports import completions, written

from siren_ext.passive.judge import KeyedEvidence


def page(folder: Path, **values: Any) -> str:
    return written(folder, **values).html.read_text(encoding="utf-8")


def test_the_page_says_what_was_found_and_what_it_does_not_prove(tmp_path: Path) -> None:
    text = page(tmp_path, trained=0.3)
    assert "<title>SIREN report: training found</title>" in text
    assert "Was this model trained on the published images?" in text
    assert "no difference found" in text
    assert "How much was used?" in text
    assert "It does not say who owns the images" in text
    assert "Only a test that was planned in advance has the stated risk" in text
    assert "<svg" in text
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="http', text)


@pytest.mark.parametrize(
    ("values", "outcome", "tone"),
    [
        ({"trained": 0.3}, "training found", "found"),
        ({}, "no evidence", "clear"),
        ({"trained": 0.3, "unlike": 2.0}, "invalid: P and U differ in themselves", "open"),
        ({"trained": 0.3, "alpha": 1e-4}, "inconclusive", "open"),
        ({"trained": 0.3, "mode": "default", "evidence": "difference"}, "training found", "found"),
    ],
)
def test_every_outcome_has_a_page(
    tmp_path: Path, values: dict[str, Any], outcome: str, tone: str
) -> None:
    text = page(tmp_path, **values)
    assert f'<div class="outcome">{outcome}</div>' in text
    assert f'<div class="verdict {tone}">' in text
    assert ("How much was used?" in text) == (tone == "found")


def test_the_keyed_verdict_comes_first(tmp_path: Path) -> None:
    keyed = KeyedEvidence("coating found", 1e-9, 1e-6, "a" * 64)
    text = page(tmp_path, trained=0.3, keyed=keyed)
    assert text.index("Together with the keyed test") < text.index("The evidence")
    assert "The keyed test counts first" in text


def test_folders_of_this_machine_and_html_are_not_shown(tmp_path: Path) -> None:
    notes = ("/home/someone/secret/a.png is <b>odd</b>.",)
    text = page(tmp_path, notes=notes)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert "someone" not in text + json.dumps(kept)
    assert "&lt;b&gt;odd&lt;/b&gt;" in text


def test_the_record_has_all_features(tmp_path: Path) -> None:
    written(tmp_path, trained=0.3)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["format"] == "siren_ext.passive_report"
    assert len(kept["published"]["rows"]) == len(kept["published_looks"]) == 40
    assert kept["verdict"]["comparison"]["n"] == 40
    assert (tmp_path / "report.seal.json").is_file()


@pytest.mark.models
def test_completed_pictures_are_shown_as_an_illustration(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    assert "Does the model complete the pictures?" not in page(tmp_path / "none")
    text = page(tmp_path / "some", shown=completions())
    assert "This is an illustration and not a test" in text
    assert text.count('<img src="data:image/png;base64,') == 8
    assert text.index("Published pictures") < text.index("Unpublished pictures, to compare")
    assert "24.3 dB by the suspicious model, 15.5 dB by the control, +8.8 dB." in text
    assert "+0.2 dB." in text
