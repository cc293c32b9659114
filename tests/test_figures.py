"""The tables of docs/figures.md and docs/panel.md come from files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def figures() -> ModuleType:
    """The script that writes the tables."""
    path = ROOT / "benchmarks" / "figure_tables.py"
    if not path.exists():
        pytest.skip("the benchmarks are only in a source tree")
    spec = importlib.util.spec_from_file_location("figure_tables", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SUMMARY: dict[str, Any] = {
    "psnr_db": 40.123,
    "ssim": 0.98,
    "local_de00_p99": 1.5,
    "scores_separate": True,
    "suspect": {"verdict": "scores lower than this reference", "p": 1e-9, "n": 30, "m": 100},
    "innocent": {"verdict": "no difference found", "p": 0.4, "n": 30, "m": 100},
    "seconds": 61.0,
    "peak_memory_gb": None,
}


def test_table_is_written_between_the_markers(figures: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "figures.md"
    target.write_text(f"before\n{figures.START}\nold\n{figures.END}\nafter\n")
    summary, more = tmp_path / "summary.json", tmp_path / "more.json"
    summary.write_text(json.dumps(SUMMARY))
    more.write_text(json.dumps([{"figure": "a|b", "target": "1", "measured": "2"}]))
    for _ in range(2):
        figures.main([str(summary), str(more), "--page", str(target)])
        text = target.read_text()
        assert text.startswith(f"before\n{figures.START}\n| figure | target | measured |\n")
        assert text.endswith(f"| a/b | 1 | 2 |\n{figures.END}\nafter\n")
        assert "40.1 dB" in text
        assert "old" not in text


def test_a_demo_with_a_key_names_no_reference(figures: ModuleType) -> None:
    changes = (("suspect", "coating found"), ("innocent", "no evidence"))
    keyed = {name: {**SUMMARY[name], "verdict": word, "m": 0} for name, word in changes}
    with_key, without = figures.demo_rows(SUMMARY | keyed), figures.demo_rows(SUMMARY)
    assert len(with_key) == len(without) - 1
    target, measured = next(row[1:] for row in with_key if "coated set" in row[0])
    assert (target, measured) == ("coating found", "coating found, p = 1e-09 (30 images)")


def test_a_page_without_markers_is_refused(figures: ModuleType) -> None:
    with pytest.raises(ValueError, match="figures:start"):
        figures.replace("text", "table")


def test_the_page_of_figures_has_the_markers(figures: ModuleType) -> None:
    assert figures.PAGE == ROOT / "docs" / "figures.md"
    page = figures.PAGE.read_text(encoding="utf-8")
    assert page.index(figures.START) < page.index(figures.END)
    assert "| figure | target | measured |" in page[page.index(figures.START) :]


SUMMARY_OF_A_PANEL = """test,n,group,models,at_0.05,at_1e-06
keyed test,30,innocent,44,0.045454545,0
keyed test,30,"guilty, 50 %",3,1.0,0.333333
keyed test,200,innocent,44,0.0,0.0
keyed test,200,"guilty, 50 %",3,1.0,1.0
"""


def test_a_panels_tables_tell_the_innocent_from_the_guilty(
    figures: ModuleType, tmp_path: Path
) -> None:
    summary, page = tmp_path / "panel_summary.csv", tmp_path / "panel.md"
    summary.write_text(SUMMARY_OF_A_PANEL)
    page.write_text(f"{figures.START}\n{figures.END}\n")
    figures.main([str(summary), "--page", str(page)])
    innocent, guilty = page.read_text().split("**Caught**")
    assert (
        "| keyed test | innocent (44) | 4.55 (0.6 to 15.5) / 0 (0.0 to 8.0) | "
        "0 (0.0 to 8.0) / 0 (0.0 to 8.0) |"
    ) in innocent
    assert (
        "| keyed test | guilty, 50 % (3) | 100 (29.2 to 100.0) / 33.3 (0.8 to 90.6) | "
        "100 (29.2 to 100.0) / 100 (29.2 to 100.0) |"
    ) in guilty
    assert "alpha = 0.05 / 1e-06" in innocent
    with pytest.raises(SystemExit):
        figures.main([str(summary), str(summary), "--page", str(page)])


def test_clusters_of_a_panel_are_counted(figures: ModuleType, tmp_path: Path) -> None:
    models = [("own set, clean", "own", 0.2), ("own set, clean", "own", 0.2), ("guilty", "own", 0)]
    models += [("other set", "dog", 0.7), ("other set", "cat", 0.9), ("bare base model", "", 0.4)]
    tests = [column for column in figures.TESTS if column not in ("p_ks_matched", "p_verdict")]
    path = tmp_path / "panel.csv"
    extra = "".join(f",{column}" for column in tests)
    values = [f'"{kind}",{name},30,{p},1' + f",{p}" * len(tests) for kind, name, p in models]
    path.write_text("\n".join([f"kind,set,n,p_ks_matched,p_verdict{extra}", *values]) + "\n")
    text = figures.cluster_table(path)
    assert "| keyed test | 30 | 5 | 4 | 1.00 | 4 |" in text
    assert "verdict" not in text


def test_the_page_of_the_panel_says_what_its_table_says(figures: ModuleType) -> None:
    page = (ROOT / "docs" / "panel.md").read_text(encoding="utf-8")
    assert figures.panel_tables(ROOT / "docs" / "results" / "panel_summary.csv") in page
