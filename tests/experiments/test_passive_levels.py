"""The simulation of set tests: what is drawn, what is counted, and the command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from siren_ext.experiments.passive_levels import SHIFTS, TESTS, Shift, app, drawn_sets, measure


def test_the_shifted_images_and_features_are_counted_exactly() -> None:
    shift = Shift("x", size=100.0, columns=3, share=0.3)
    published, unpublished = drawn_sets(20, 5, shift, np.random.default_rng(0))
    assert (published[:, :3] < -50).sum(axis=0).tolist() == [6, 6, 6]
    assert (published[:, 3:] > -50).all()
    assert (unpublished > -50).all()


def test_every_test_is_applied_to_every_pair() -> None:
    rows = measure(20, 3, SHIFTS[1])
    assert [(row["mode"], row["scorer"]) for row in rows] == list(TESTS)
    assert {row["runs"] for row in rows} == {3}
    assert rows == measure(20, 3, SHIFTS[1])
    strong = measure(20, 3, Shift("all", 3.0, 10))
    assert all(row["rejected_at_0.05"] == 1 for row in strong)


def test_the_command_writes_a_table(call, tmp_path: Path) -> None:
    out = tmp_path / "levels.csv"
    line = ["--out", out, "--runs", "2", "--power-runs", "1", "-n", "12", "-q"]
    code, text, err = call(*line, of=app)
    assert code == 0, err
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(TESTS) * (1 + len(SHIFTS))
    assert rows[0]["difference"] == "nothing"
    assert "official (logistic)" in text
