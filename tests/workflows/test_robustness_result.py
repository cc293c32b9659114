"""Words about robustness: outcomes and warnings."""

from __future__ import annotations

import dataclasses

import pytest

from siren_ext.workflows.robustness_result import AttackResult, Robustness

GOOD = AttackResult(
    "none", {}, None, 1.0, 0.9, 1.0, 40, 0.9, 1.0, 2, 0.01, 0.1, 0.8, 1e-9, 0.5, 0.4
)  # fmt: skip


def result(*rows: AttackResult, images: int = 48) -> Robustness:
    return Robustness("f" * 64, "given", images, 512, 0, 0.05, 40.0, 0.5, rows, {})


@pytest.mark.parametrize(
    ("area", "low", "outcome"),
    [
        (1.0, 0.9, "readable"),
        (0.9, 0.6, "readable"),
        (0.89, 0.6, "weaker"),
        (0.95, 0.5, "not found"),
        (0.1, 0.02, "not found"),
        (None, None, "not measured"),
    ],
)
def test_outcomes(area: float | None, low: float | None, outcome: str) -> None:
    assert dataclasses.replace(GOOD, area=area, area_low=low).outcome == outcome


def test_warnings_name_what_makes_figures_worthless() -> None:
    assert len(result(GOOD).warnings()) == 1
    lost = dataclasses.replace(GOOD, area=0.5, area_low=0.3)
    accused = dataclasses.replace(GOOD, attack="hue", false_alarms=20, false_low=0.2)
    words = " ".join(result(lost, accused, images=10).warnings())
    assert "Only 10 pictures" in words
    assert "can't be read well from single pictures even without an attack" in words
    assert "After hue uncoated pictures score below the cut-off more often than 5%" in words


def test_a_coating_that_is_not_there_survives_nothing() -> None:
    lost = dataclasses.replace(GOOD, area=0.55, area_low=0.4)
    lucky = dataclasses.replace(GOOD, attack="jpeg")
    found = result(lost, lucky).summary()
    assert found == "The coating is not found in single pictures even without an attack."
    assert result(GOOD, lucky).summary() == "The coating stays readable after jpeg."


def test_a_public_coater_is_named() -> None:
    from siren_ext.coater.bundled import public_coaters

    known = dataclasses.replace(result(GOOD), coater=min(public_coaters()))
    assert known.warnings()[-1].startswith("This coater comes with the program")


def test_the_table_and_the_page_show_names_as_text() -> None:
    odd = AttackResult("<b>", {}, problem="needs <x>")
    found = result(GOOD, odd)
    assert "&lt;b&gt;" in found.fragment()
    assert "needs &lt;x&gt;" in found.fragment()
    assert found.lines() == [
        "none (publishing as it is): readable, AUC 1.00 (0.90 to 1.00), 80% of bits right, "
        "key p 1e-09",
        "<b> (publishing as it is): not measured. needs <x>",
    ]
    head, first, second = found.table()
    assert head.split()[:3] == ["attack", "PSNR", "AUC"]
    assert first.split()[:3] == ["none", "same", "1.000"]
    assert second.endswith("not measured: needs <x>")
