"""The page's tab for a model's file: its finished test and its words."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from support.gradio_servers import ROOT
from support.scripts import load_script

DEMO = ROOT / "gradio_demo"


@pytest.fixture(scope="module")
def asked() -> ModuleType:
    return load_script(DEMO / "asked.py")


@pytest.mark.usefixtures("few_messages")
def test_the_stored_measurement_gives_the_message_away(asked: ModuleType) -> None:
    verdict, measured, alike = asked.asked_file()
    assert measured.preference
    assert verdict.outcome == "coating found"
    assert verdict.deciding.p_value <= verdict.alpha
    assert alike is not None
    assert alike.correlation > 0.1
    assert alike.p_value <= 0.01


@pytest.mark.usefixtures("few_messages")
def test_the_cards_show_verdict_chart_and_both_tints(asked: ModuleType) -> None:
    card, charts = asked.asked_cards()
    assert "coating found" in card
    assert "what the model prefers" in card
    assert charts.count("<svg") == 1
    assert charts.count('src="data:image/png;base64,') == 2
    assert "Keep these pictures to yourself" in charts


def test_the_example_is_small_and_names_no_machine(asked: ModuleType) -> None:
    text = asked.MEASUREMENT.read_text(encoding="utf-8")
    assert len(text) < 250_000
    assert "/tmp" not in text
    assert "/home" not in text


def test_the_example_is_that_of_its_command(asked: ModuleType) -> None:
    command = load_script(ROOT / "benchmarks" / "file_example.py")
    stored = json.loads(asked.MEASUREMENT.read_text(encoding="utf-8"))
    (adapter,) = stored["source"]["provenance"]["suspect"]["adapters"]
    assert adapter["file"] == command.LORA.name
    assert command.LORA.is_file()
