"""The command: what is counted, what is kept, and the tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from siren_ext.experiments import levels
from siren_ext.experiments.levels import Levels, app, power_table, size_table
from siren_ext.experiments.powers import Claim, Planned
from siren_ext.experiments.sizes import Simulation
from siren_ext.progress import NULL

ROOT = Path(__file__).resolve().parents[2]


def drawn(calls: list[int]) -> Simulation:
    """Uniform p, whose calls are written down."""

    def draw(runs: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        calls.append(runs)
        return {"p": rng.random(runs), "never": np.ones(runs)}

    return Simulation("uniform", draw)


def test_p_at_a_level_are_counted_and_a_stopped_run_is_resumed(tmp_path: Path) -> None:
    calls: list[int] = []
    uniform, never = Levels(tmp_path, 2500, 1, 0, NULL).sizes([drawn(calls)])
    assert calls == [1000, 1000, 500]
    assert uniform["count_0.05"] == pytest.approx(125, abs=45)
    assert uniform["low_0.05"] < uniform["share_0.05"] < uniform["high_0.05"]
    assert (never["p"], never["count_0.05"], never["low_0.05"]) == ("never", 0, 0)
    kept = json.loads((tmp_path / "levels.json").read_text())
    del kept["blocks"]["uniform"]["1000"]
    (tmp_path / "levels.json").write_text(json.dumps(kept))
    again = Levels(tmp_path, 2500, 1, 0, NULL).sizes([drawn(calls)])
    assert calls[3:] == [1000], "only what is missing"
    assert again == [uniform, never]


def test_plans_are_kept_and_summed_up(tmp_path: Path) -> None:
    claims = [Claim(10, 0.95, 0.94), Claim(20, 0.8, 0.85), Claim(30, 0.8, 0.8)]
    plans = [
        Planned("--effect", str(number), lambda runs, rng, one=one: one)
        for number, one in enumerate(claims)
    ]
    rows = Levels(tmp_path, 1, 7, 0, NULL).powers(plans)
    assert [row["images"] for row in rows] == [10, 20, 30]
    assert rows[0]["difference"] == pytest.approx(0.01)
    assert power_table(rows).endswith("| `--effect` | 3 | +1.0 | -5.0 | 2 of 3 |\n")
    stale = [Planned(one.name, one.setting, None) for one in plans]  # type: ignore[arg-type]
    assert Levels(tmp_path, 1, 7, 0, NULL).powers(stale) == rows, "nothing is simulated again"


def test_the_command_writes_tables_and_refuses_other_settings(
    call, tmp_path: Path, monkeypatch
) -> None:
    plan = Planned("--effect", "x", lambda runs, rng: Claim(runs, 0.9, 0.9))
    monkeypatch.setattr(levels, "SIMULATIONS", (drawn([]),))
    monkeypatch.setattr(levels, "PLANS", (plan,))
    page = tmp_path / "page.md"
    page.write_text("<!-- levels:start -->\n<!-- levels:end -->\n")
    line = ["--out", tmp_path / "out", "--runs", "40", "--power-runs", "3", "-q"]
    code, text, err = call(*line, "--page", page, of=app)
    assert code == 0, err
    for name, rows in (("sizes.csv", 2), ("powers.csv", 1)):
        with (tmp_path / "out" / name).open(newline="") as stream:
            assert len(list(csv.DictReader(stream))) == rows
    assert "| p | simulated | at 0.05 | at 0.01 | at 0.001 |" in page.read_text()
    code, text, err = call(*line, "--seed", "1", of=app)
    assert (code, text) == (2, "")
    assert "other settings" in err
    (tmp_path / "out" / "levels.json").write_text("[]")
    code, text, err = call(*line, of=app)
    assert (code, text) == (2, "")
    assert "holds no simulations" in err


def test_small_shares_have_more_digits() -> None:
    row = {"p": "a", "simulated": "b"}
    for level, share in ((0.05, 0.049), (0.01, 0.0098), (0.001, 0.001)):
        row |= {f"share_{level:g}": share, f"low_{level:g}": share, f"high_{level:g}": share}
    assert "| 4.9 % (4.9 % to 4.9 %) | 0.98 % (0.98 % to 0.98 %) | 0.10 %" in size_table([row])


def test_the_page_and_the_tables_have_every_simulation_and_plan() -> None:
    page = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    missing = [one.name for one in levels.SIMULATIONS if f" | {one.name} | " not in page]
    assert missing == []
    with (ROOT / "docs" / "results" / "powers.csv").open(newline="") as stream:
        found = {(row["plan"], row["settings"]): row for row in csv.DictReader(stream)}
    assert set(found) == {(one.name, one.setting) for one in levels.PLANS}
    assert max(abs(float(row["difference"])) for row in found.values()) <= levels.NEAR
    with (ROOT / "docs" / "results" / "sizes.csv").open(newline="") as stream:
        sizes = list(csv.DictReader(stream))
    assert {row["simulated"] for row in sizes} == {one.name for one in levels.SIMULATIONS}
    for row in sizes:
        assert int(row["runs"]) == 20_000
        if "rates" in row["simulated"]:  # innocent models differ, of which this p knows nothing
            continue
        for level in levels.LEVELS:
            error = (level * (1 - level) / 20_000) ** 0.5
            assert float(row[f"share_{level:g}"]) <= level + 3.5 * error, row["p"]
