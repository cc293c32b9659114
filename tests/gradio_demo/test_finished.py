"""The finished run that the page shows first."""

from __future__ import annotations

from support.gradio_servers import ROOT
from support.scripts import load_script


def test_the_stored_scores_give_a_clear_verdict() -> None:
    finished = load_script(ROOT / "gradio_demo" / "finished.py")
    verdict, suspect = finished.finished_run()
    assert verdict.outcome == "coating found"
    assert verdict.deciding.p_value < 1e-5
    assert verdict.deciding.control.found(verdict.alpha, 1)
    assert len(suspect) == 50
    assert any("comes with the program, so everybody has it" in one for one in verdict.warnings)
    card, charts = finished.finished_cards()
    assert "outcome" in card
    assert charts.count("<svg") == 1
    assert finished.SCORES.stat().st_size < 100_000


def test_nothing_of_a_machine_is_stored() -> None:
    finished = load_script(ROOT / "gradio_demo" / "finished.py")
    text = finished.SCORES.read_text(encoding="utf-8")
    assert "suspect" in text
    assert "/tmp" not in text
    assert "/home" not in text
