"""Figures of the study of preference beside their aims."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from siren_ext.experiments.preference_targets import app, targets
from siren_ext.experiments.rows import write_rows


def row(case: str, control: str, p: float) -> dict[str, object]:
    return {"case": case, "control": control, "p": p, "others_05": 0.04, "others_01": 0.02}


SETS = {
    "samples": [row("share_20", "clean", p) for p in (1e-7, 1e-6, 2e-6)],
    "faces": [row("share_20", "clean", 1e-9), row("clean", "none", 0.5)],
}


def test_models_are_counted_over_all_sets() -> None:
    lines = targets(SETS)
    assert lines[0] == "| trained on | control | aim | samples | faces | met |"
    assert (
        "| 20 % coated, rest own originals | clean | 1e-06 | 1e-07, 1e-06, 2e-06 | 1e-09 "
        "| 3 of 4 (19 to 99 %) |" in lines
    )
    assert "| all coated | none | 1e-06 | not measured | not measured | 0 of 0 |" in lines
    assert lines[-3] == (
        "Innocent models without a control (1): p up to .05 in 0 (0 to 98 %), up to .01 in 0 "
        "(0 to 98 %). Those of one set share images and key, so the interval is too narrow."
    )
    assert lines[-1] == (
        "1,000 other keys for each of 5 measurements: p up to .05 for 4.0 % (at most 4.0 %), up to "
        ".01 for 2.0 % (at most 2.0 %)."
    )


def test_innocent_models_are_counted_without_controls() -> None:
    found = [row("clean", "none", p) for p in (0.5, 0.04)] + [row("clean", "clean", 0.001)]
    found += [row("other images", "none", 0.008), row("coated", "none", 1e-9)]
    said = targets({"samples": found})[-3]
    assert "without a control (3): p up to .05 in 2 (9 to 99 %), up to .01 in 1" in said
    assert targets({"samples": found[-1:]})[-3] == "No innocent model is measured."


def test_the_command_reads_tables_and_refuses_others(tmp_path: Path) -> None:
    for name, rows in SETS.items():
        whole = [row("share_20", "clean", 0.75) | {"reading": "whole"}]  # another test
        rows = [one | {"reading": "removed"} for one in rows] + whole
        write_rows(rows, tmp_path / f"now_{name}.csv")
    files = [str(tmp_path / f"now_{name}.csv") for name in SETS]
    made = CliRunner().invoke(app, files)
    assert made.exit_code == 0, made.output
    assert "| trained on | control | aim | samples | faces | met |" in made.output
    assert "0.75" not in made.output
    write_rows([{"case": "a"}], tmp_path / "other.csv")
    for wrong in ("other.csv", "gone.csv"):
        made = CliRunner().invoke(app, [str(tmp_path / wrong)])
        assert made.exit_code == 2
