"""The finished run that the page shows first."""

from __future__ import annotations

import pytest
from support.gradio_servers import ROOT
from support.scripts import load_script


def test_the_stored_scores_give_a_clear_verdict() -> None:
    finished = load_script(ROOT / "gradio_demo" / "finished.py")
    verdict, suspect, reference = finished.finished_run()
    assert verdict.outcome == "scores lower than this reference"
    assert verdict.deciding.p_value < 1e-6
    assert (len(suspect), len(reference)) == (30, 100)
    assert suspect.features is None
    card, charts = finished.finished_cards()
    assert "outcome" in card
    assert charts.count("<svg") == 2
    assert finished.SCORES.stat().st_size < 100_000


@pytest.mark.parametrize("name", ["suspect", "reference"])
def test_nothing_of_a_machine_is_stored(name: str) -> None:
    finished = load_script(ROOT / "gradio_demo" / "finished.py")
    text = finished.SCORES.read_text(encoding="utf-8")
    assert f'"{name}"' in text
    assert "/tmp" not in text
    assert "/home" not in text
