"""The page on the service shows the figures that were measured."""

from __future__ import annotations

import json
from pathlib import Path

from support.scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
load = load_script(ROOT / "benchmarks" / "serve_load.py")


def test_the_page_has_the_measured_table() -> None:
    rows = json.loads((ROOT / "docs" / "results" / "serve_load.json").read_text())["rows"]
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    assert load.table(rows) in page
    assert [(row["workers"], row["queue"], row["clients"]) for row in rows] == list(load.RUNS)
